defmodule Weft.Stream do
  @moduledoc """
  A stream as `Enumerable` and `Collectable`, for the controlling process of a connection with `active: false`. In the examples
  `passive` is one, to an echo server.

      stream = Weft.Stream.open!(passive)
      Enum.into(["GET ", "/"], stream)
      "GET /" = Enum.join(stream)

  Collecting waits for a peer that reads slowly, and ends our direction (FIN); when it is broken off by an exception, it resets the
  stream with code 1. Enumerating waits for what comes, and ends with the peer's direction; a reset, or the end of the connection
  before, raises `Weft.Error`. Nothing more is asked of the peer than was enumerated, and a small buffer.
  """
  alias Weft.{Connection, Error}

  @type t :: %__MODULE__{conn: pid(), id: non_neg_integer()}
  @enforce_keys [:conn, :id]
  defstruct [:conn, :id]

  @doc """
  Opens a stream (RFC 9000 2.1), `:bidirectional` or `:unidirectional`; raises `Weft.Error` when the peer allows no more now, or the
  connection is over.

      stream = Weft.Stream.open!(passive)
      stream = Enum.into(["hello"], stream)
      ["hello"] = Enum.to_list(stream)
  """
  @spec open!(pid(), Connection.stream_type()) :: t()
  def open!(conn, type \\ :bidirectional),
    do: %__MODULE__{conn: conn, id: Connection.open_stream!(conn, type)}

  @doc """
  A stream that is there: one of the peer's, after `{:quic_stream_opened, conn, id, :incoming, type}`.

      id = Weft.open_stream!(passive)
      stream = Weft.Stream.stream!(passive, id)
      Enum.into(["hello"], stream)
      ["he" <> _ | _] = Enum.to_list(stream)
  """
  @spec stream!(pid(), Connection.id()) :: t()
  def stream!(conn, id) when is_pid(conn) and is_integer(id) and id >= 0, do: %__MODULE__{conn: conn, id: id}

  @doc false
  def next(%__MODULE__{conn: conn, id: id} = stream) do
    case Connection.stream_recv(conn, id) do
      {:ok, {"", true}} -> {[], :fin}
      {:ok, {data, true}} -> {[data], :fin}
      {:ok, {data, false}} -> {[data], stream}
      {:error, %Error{reason: :done}} -> wait(stream)
      {:error, %Error{reason: :unknown_stream} = error} -> was_reset(stream, error)
      {:error, error} -> raise error
    end
  end

  # Of a stream that is over on both sides nothing is known but what was told.
  defp was_reset(%{conn: conn, id: id}, error) do
    receive do
      {:quic_stream_reset, ^conn, ^id, code} -> raise Error.new(:stream_recv, {:reset, code})
    after
      0 -> raise error
    end
  end

  # The message of the end is another stream's to see, too: it is only looked at as long as nothing is left to read.
  defp wait(%{conn: conn, id: id} = stream) do
    receive do
      {:quic_stream_readable, ^conn, ^id} -> {[], stream}
      {:quic_stream_reset, ^conn, ^id, code} -> raise Error.new(:stream_recv, {:reset, code})
      {:quic_connection_closed, ^conn, _} = over -> over(over, stream)
    end
  end

  defp over({_, conn, reason} = message, stream) do
    send(self(), message)

    case Connection.stream_recv(conn, stream.id) do
      {:ok, {"", true}} -> {[], :fin}
      {:ok, {data, true}} -> {[data], :fin}
      {:ok, {data, false}} -> {[data], stream}
      {:error, error} -> raise if(reason == :normal, do: error, else: Error.new(:stream_recv, reason))
    end
  end

  defimpl Enumerable do
    def reduce(stream, acc, fun) do
      next = fn
        :fin -> {:halt, :fin}
        stream -> Weft.Stream.next(stream)
      end

      Stream.resource(fn -> stream end, next, fn _ -> :ok end) |> Enumerable.reduce(acc, fun)
    end

    def count(_), do: {:error, __MODULE__}
    def member?(_, _), do: {:error, __MODULE__}
    def slice(_), do: {:error, __MODULE__}
  end

  defimpl Collectable do
    def into(%{conn: conn, id: id} = stream) do
      {nil,
       fn
         _, {:cont, data} ->
           _ = Weft.Connection.stream_send!(conn, id, data)
           nil

         _, :done ->
           _ = Weft.Connection.stream_send!(conn, id, "", fin: true)
           stream

         _, :halt ->
           Weft.Connection.stream_shutdown(conn, id, :write, 1)
       end}
    end
  end

  defimpl Inspect do
    # What the ID says, and whether the connection's process is there: to ask it could be to wait for it, even for oneself.
    def inspect(%{conn: conn, id: id}, _) do
      by = if rem(id, 2) == 0, do: "client", else: "server"
      type = if rem(id, 4) < 2, do: "bidirectional", else: "unidirectional"
      gone = if node(conn) == node() and not Process.alive?(conn), do: ", closed", else: ""
      "#Weft.Stream<#{id}, #{by}'s, #{type}, of #{Kernel.inspect(conn)}#{gone}>"
    end
  end
end
