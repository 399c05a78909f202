defmodule Weft do
  @moduledoc """
  QUIC for Elixir: connections and listeners as processes, over the Erlang application `weft_nif`.

      config = Weft.Config.new!() |> Weft.Config.set_application_protos(["echo"]) |> Weft.Config.verify_peer(false)
      {:ok, conn} = Weft.start_connection(host: "localhost", port: port, config: config)
      :ok = Weft.wait_connected(conn)
      {:ok, id} = Weft.open_stream(conn)
      {:ok, 5} = Weft.send_data(conn, id, "hello", fin: true)
      receive do
        {:quic_stream_data, ^conn, ^id, data, _fin} -> data
      end

  This module has what most programs need; `Weft.Connection` has it all, and says which errors there are. Functions give
  `{:ok, value}` or `{:error, %Weft.Error{}}`; those with `!` the value, or an exception. In the examples `conn` is a
  connection to an echo server, and `id` a stream of it.
  """
  import Weft.Bang
  alias Weft.{Connection, Error}

  @doc """
  The core's version.

      iex> Weft.version() =~ ~r/^[0-9]+[.][0-9]+[.][0-9]+/
      true
  """
  @spec version() :: String.t()
  defdelegate version, to: :weft

  @doc """
  Starts a supervised connection of a client, which ends with its controlling process: the caller, unless option
  `controlling_process` names another. Options and errors: `Weft.Connection`. It does not wait for the handshake.

      {:ok, conn} = Weft.start_connection(host: "localhost", port: port, config: config)
      :ok = Weft.wait_connected(conn)
  """
  @spec start_connection([Connection.option()]) :: {:ok, pid()} | {:error, term()}
  defdelegate start_connection(opts), to: Connection, as: :connect

  bang(
    start_connection(opts :: [Connection.option()]),
    pid(),
    ~s|conn = Weft.start_connection!(host: "localhost", port: port, config: config)|
  )

  @doc """
  Starts a supervised connection and waits until its handshake is complete, at most `timeout` ms (5000). A connection whose handshake
  fails, or takes longer, is gone; its error is given.

      {:ok, conn} = Weft.connect(host: "localhost", port: port, config: config)
      true = Weft.Connection.is_established?(conn)
  """
  @spec connect([Connection.option()], timeout()) :: {:ok, pid()} | {:error, term()}
  def connect(opts, timeout \\ 5000) do
    with {:ok, conn} <- start_connection(opts) do
      with {:error, _} = error <- wait_connected(conn, timeout) do
        close_connection(conn)
        error
      else
        :ok -> {:ok, conn}
      end
    end
  end

  bang(
    connect(opts :: [Connection.option()], timeout :: timeout() \\ 5000),
    pid(),
    ~s|conn = Weft.connect!(host: "localhost", port: port, config: config)|
  )

  @doc """
  Closes a connection; see `Weft.Connection.close/2`.

      :ok = Weft.close_connection(conn, error_code: 0, reason: "done")
  """
  @spec close_connection(pid(), keyword()) :: :ok
  defdelegate close_connection(conn, opts \\ []), to: Connection, as: :close

  @doc """
  Waits until the handshake is complete, at most `timeout` ms; see `Weft.Connection.wait_connected/2`.

      :ok = Weft.wait_connected(conn, 10_000)
  """
  @spec wait_connected(pid(), timeout()) :: :ok | {:error, Error.t()}
  defdelegate wait_connected(conn, timeout \\ 5000), to: Connection
  bang(wait_connected(conn :: pid(), timeout :: timeout() \\ 5000), :ok, ":ok = Weft.wait_connected!(conn)")

  @doc """
  Opens a stream (RFC 9000 2.1); see `Weft.Connection.open_stream/2`.

      {:ok, id} = Weft.open_stream(conn, :unidirectional)
      2 = rem(id, 4)
  """
  @spec open_stream(pid(), Connection.stream_type()) :: {:ok, Connection.id()} | {:error, Error.t()}
  defdelegate open_stream(conn, type \\ :bidirectional), to: Connection

  bang(
    open_stream(conn :: pid(), type :: Connection.stream_type() \\ :bidirectional),
    Connection.id(),
    "id = Weft.open_stream!(conn)"
  )

  @doc """
  Sends on a stream, and gives the number of bytes; see `Weft.Connection.stream_send/4`.

      {:ok, 5} = Weft.send_data(conn, id, "hello", fin: true)
  """
  @spec send_data(pid(), Connection.id(), iodata(), boolean() | keyword()) ::
          {:ok, non_neg_integer()} | {:error, Error.t()}
  defdelegate send_data(conn, id, data, opts \\ []), to: Connection, as: :stream_send

  bang(
    send_data(conn :: pid(), id :: Connection.id(), data :: iodata(), opts :: boolean() | keyword() \\ []),
    non_neg_integer(),
    ~s|5 = Weft.send_data!(conn, id, "hello", fin: true)|
  )

  @doc """
  Streams with something to read; see `Weft.Connection.readable_streams/1`.

      {:ok, []} = Weft.readable_streams(conn)
  """
  @spec readable_streams(pid()) :: {:ok, [Connection.id()]} | {:error, Error.t()}
  defdelegate readable_streams(conn), to: Connection
  bang(readable_streams(conn :: pid()), [Connection.id()], "[] = Weft.readable_streams!(conn)")

  @doc """
  Streams that take bytes now; see `Weft.Connection.writable_streams/1`.

      {:ok, [^id]} = Weft.writable_streams(conn)
  """
  @spec writable_streams(pid()) :: {:ok, [Connection.id()]} | {:error, Error.t()}
  defdelegate writable_streams(conn), to: Connection
  bang(writable_streams(conn :: pid()), [Connection.id()], "[^id] = Weft.writable_streams!(conn)")

  @doc """
  Ends directions of a stream (RFC 9000 3.5); see `Weft.Connection.stream_shutdown/4`.

      :ok = Weft.shutdown_stream(conn, id, :both, 7)
  """
  @spec shutdown_stream(pid(), Connection.id(), Connection.direction(), Connection.code() | keyword()) ::
          :ok | {:error, Error.t()}
  defdelegate shutdown_stream(conn, id, direction, code \\ 0), to: Connection, as: :stream_shutdown

  bang(
    shutdown_stream(
      conn :: pid(),
      id :: Connection.id(),
      direction :: Connection.direction(),
      code :: Connection.code() | keyword() \\ 0
    ),
    :ok,
    ":ok = Weft.shutdown_stream!(conn, id, :write)"
  )
end
