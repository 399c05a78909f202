defmodule Weft.Error do
  @moduledoc """
  What went wrong: `operation` (which function), `reason` (as in the Erlang API: an atom, or a tuple with what is known
  beside it), and for the end of a connection `code` and `cause`.

      iex> Exception.message(Weft.Error.new(:stream_send, :timeout))
      "stream_send: the time for it is over"
  """

  @type t :: %__MODULE__{operation: atom(), reason: term(), code: non_neg_integer() | nil, cause: atom()}
  defexception [:operation, :reason, :code, :cause]

  @doc "An error of an operation; errors of errors stay what they are."
  @spec new(atom(), term()) :: t()
  def new(_operation, %__MODULE__{} = error), do: error

  def new(operation, {:closed, %{code: code, cause: cause}} = reason),
    do: %__MODULE__{operation: operation, reason: reason, code: code, cause: cause}

  def new(operation, {kind, code} = reason) when kind in [:reset, :stopped],
    do: %__MODULE__{operation: operation, reason: reason, code: code, cause: :peer}

  def new(operation, reason), do: %__MODULE__{operation: operation, reason: reason}

  @impl true
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
