defmodule Weft.Error do
  @moduledoc """
  What went wrong: `operation` (which function), `reason` (as in the Erlang API: an atom, or a tuple with what is known
  beside it), and for the end of a connection or a stream `code` and `cause`.

  | `reason` | |
  |---|---|
  | `:timeout` | the time for it is over |
  | `:closed` | the connection's process is gone |
  | `{:closed, map}` | the connection is over: `cause`, `layer` (`:application` or `:transport`), `code`, `reason` (a text), `error`, `frame_type` |
  | `{:reset, code}`, `{:stopped, code}` | the peer has broken off, or wants no more (RFC 9000 19.4, 19.5) |
  | `:done` | there is nothing to read now |
  | `:busy` | with `nowait`: too many bytes wait to be sent |
  | `:unknown_stream`, `:write_closed` | there is no such stream; our direction of it has ended |
  | `:stream_limit` | the peer allows no more streams now |
  | `{:options, text}` | what was given is not allowed; the text says what is |
  | other atoms | those of `docs/errors.md` |

  `cause` is `:local`, `:peer`, `:idle_timeout`, `:handshake_timeout`, `:protocol`, `:reset`, `:version`, `:internal` or `:connect`.

      iex> Exception.message(Weft.Error.new(:stream_send, :timeout))
      "stream_send: the time for it is over"
  """

  @type t :: %__MODULE__{operation: atom(), reason: term(), code: non_neg_integer() | nil, cause: atom()}
  defexception [:operation, :reason, :code, :cause]

  @doc """
  An error of an operation; errors of errors stay what they are.

      iex> Weft.Error.new(:stream_recv, {:reset, 7}).code
      7
  """
  @spec new(atom(), term()) :: t()
  def new(_operation, %__MODULE__{} = error), do: error

  def new(operation, {:closed, %{code: code, cause: cause}} = reason),
    do: %__MODULE__{operation: operation, reason: reason, code: code, cause: cause}

  def new(operation, {kind, code} = reason) when kind in [:reset, :stopped],
    do: %__MODULE__{operation: operation, reason: reason, code: code, cause: :peer}

  def new(operation, reason), do: %__MODULE__{operation: operation, reason: reason}

  @doc """
  In words.

      iex> Weft.Error.message(Weft.Error.new(:stream_recv, :done))
      "stream_recv: there is nothing to read now"
  """
  @impl true
  @spec message(t()) :: String.t()
  def message(%{operation: operation, reason: reason}), do: "#{operation}: #{text(reason)}"

  defp text({:connection_error, error}) when is_exception(error), do: Exception.message(error)
  defp text(:unknown_stream), do: "no such stream, or it is closed"
  defp text(:write_closed), do: "our direction of the stream is closed"
  defp text(:done), do: "there is nothing to read now"
  defp text(reason), do: to_string(:weft.format_error(reason))

  @doc false
  def wrap({:error, reason}, operation), do: {:error, new(operation, reason)}
  def wrap(result, _operation), do: result

  @doc false
  def bang!(:ok), do: :ok
  def bang!({:ok, value}), do: value
  def bang!({:error, %__MODULE__{} = error}), do: raise(error)
  def bang!({:error, reason}), do: raise(new(:start, reason))
end
