defmodule Weft.Stream do
  @moduledoc """
  A stream as `Enumerable` and `Collectable`, for the controlling process of a connection with `active: false`.

      stream = Weft.Stream.open!(conn)
      Enum.into(["GET ", "/"], stream)
      Enum.join(stream)

  Collecting ends our direction (FIN). Enumerating ends with the peer's; a reset or the end of the connection raises.
  """
  alias Weft.{Connection, Error}

  @type t :: %__MODULE__{conn: pid(), id: non_neg_integer()}
  @enforce_keys [:conn, :id]
  defstruct [:conn, :id]

  @doc "Opens a bidirectional stream."
  @spec open!(pid()) :: t()
  def open!(conn), do: %__MODULE__{conn: conn, id: Connection.open_stream!(conn)}

  @doc false
  def next(%__MODULE__{conn: conn, id: id} = stream) do
    case Connection.stream_recv(conn, id) do
      {:ok, {data, true}} -> {[data], :fin}
      {:ok, {data, false}} -> {[data], stream}
      {:error, %Error{reason: :done}} -> wait(stream)
      {:error, error} -> raise error
    end
  end

  defp wait(%{conn: conn, id: id} = stream) do
    receive do
      {:quic_stream_readable, ^conn, ^id} -> {[], stream}
      {:quic_stream_reset, ^conn, ^id, code} -> raise Error.new(:stream_recv, {:reset, code})
      {:quic_connection_closed, ^conn, _} -> raise Error.new(:stream_recv, :closed)
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
         _, {:cont, data} -> Weft.Connection.stream_send!(conn, id, data) && nil
         _, :done -> Weft.Connection.stream_send!(conn, id, "", fin: true) && stream
         _, :halt -> Weft.Connection.stream_shutdown(conn, id, :write, 1)
       end}
    end
  end

  defimpl Inspect do
    def inspect(%{conn: conn, id: id}, _), do: "#Weft.Stream<#{id} of #{Kernel.inspect(conn)}>"
  end
end
