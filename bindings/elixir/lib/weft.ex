defmodule Weft do
  @moduledoc """
  QUIC for Elixir: connections and listeners as processes, over the Erlang application `weft_nif`.

      config = Weft.Config.new!() |> Weft.Config.set_application_protos(["echo"])
      {:ok, conn} = Weft.start_connection(host: "localhost", port: 4433, config: config)
      :ok = Weft.wait_connected(conn)
      {:ok, id} = Weft.open_stream(conn)
      {:ok, 5} = Weft.send_data(conn, id, "hello", fin: true)
      receive do
        {:quic_stream_data, ^conn, ^id, data, _fin} -> data
      end
  """
  alias Weft.Connection

  @doc "The core's version."
  @spec version() :: String.t()
  defdelegate version, to: :weft

  @doc "Starts a supervised connection of a client; it ends with its controlling process. See `Weft.Connection`."
  @spec start_connection(keyword()) :: {:ok, pid()} | {:error, term()}
  defdelegate start_connection(opts), to: Connection, as: :connect

  @doc "See `Weft.Connection.close/2`."
  defdelegate close_connection(conn, opts \\ []), to: Connection, as: :close
  @doc "See `Weft.Connection.wait_connected/2`."
  defdelegate wait_connected(conn, timeout \\ 5000), to: Connection
  @doc "See `Weft.Connection.open_stream/2`."
  defdelegate open_stream(conn, type \\ :bidirectional), to: Connection
  @doc "See `Weft.Connection.stream_send/4`."
  defdelegate send_data(conn, id, data, opts \\ []), to: Connection, as: :stream_send
  @doc "See `Weft.Connection.readable_streams/1`."
  defdelegate readable_streams(conn), to: Connection
  @doc "See `Weft.Connection.writable_streams/1`."
  defdelegate writable_streams(conn), to: Connection
  @doc "See `Weft.Connection.stream_shutdown/4`."
  defdelegate shutdown_stream(conn, id, direction, code \\ 0), to: Connection, as: :stream_shutdown
end
