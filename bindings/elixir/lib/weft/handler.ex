defmodule Weft.Handler do
  @moduledoc """
  What a connection's process calls. Callbacks return `{:ok, state}` or `{:ok, state, actions}`; they run in that
  process, so they give actions instead of calling `Weft.Connection` about their own connection.

      defmodule Echo do
        use Weft.Handler

        @impl true
        def handle_stream_readable(_conn, id, state), do: {:ok, state, [{:read_stream, id, []}]}

        @impl true
        def handle_stream_data(_conn, id, data, fin, state), do: {:ok, state, [{:send_data, id, data, fin: fin}]}
      end

  Bytes of `:send_data` that the core does not take yet wait in the process; as long as they do, the stream is not
  read: an echo is as slow as its reader.
  """
  @type state :: term()
  @type action ::
          {:read_stream, non_neg_integer(), keyword()}
          | {:send_data, non_neg_integer(), iodata(), keyword()}
          | {:refuse_stream, non_neg_integer(), non_neg_integer()}
          | {:open_stream, keyword()}
          | {:shutdown_stream, non_neg_integer(), :read | :write | :both, non_neg_integer()}
          | {:send_datagram, iodata()}
          | {:close_connection, non_neg_integer(), iodata()}
  @type result :: {:ok, state()} | {:ok, state(), [action()]}

  @callback init(pid(), keyword()) :: {:ok, state()} | {:error, term()}
  @callback handle_connected(pid(), state()) :: result()
  @callback handle_connection_closed(pid(), reason :: term(), state()) :: result()
  @callback handle_stream_opened(
              pid(),
              non_neg_integer(),
              :incoming | :outgoing,
              :bidirectional | :unidirectional,
              state()
            ) :: result()
  @callback handle_stream_readable(pid(), non_neg_integer(), state()) :: result()
  @callback handle_stream_data(pid(), non_neg_integer(), binary(), boolean(), state()) :: result()
  @callback handle_stream_finished(pid(), non_neg_integer(), state()) :: result()
  @callback handle_stream_writable(pid(), non_neg_integer(), state()) :: result()
  @callback handle_stream_reset(pid(), non_neg_integer(), code :: non_neg_integer(), state()) :: result()
  @callback handle_datagram(pid(), binary(), state()) :: result()
  @callback handle_path(pid(), :validated | :failed | :active, {local :: term(), peer :: term()}, state()) ::
              result()
  @callback terminate(reason :: term(), state()) :: term()

  @optional_callbacks handle_stream_data: 5,
                      handle_stream_finished: 3,
                      handle_stream_writable: 3,
                      handle_stream_reset: 4,
                      handle_datagram: 3,
                      handle_path: 4,
                      terminate: 2

  defmacro __using__(_) do
    quote do
      @behaviour Weft.Handler
      @impl true
      def init(_conn, opts), do: {:ok, opts}
      @impl true
      def handle_connected(_conn, state), do: {:ok, state}
      @impl true
      def handle_connection_closed(_conn, _reason, state), do: {:ok, state}
      @impl true
      def handle_stream_opened(_conn, _id, _direction, _type, state), do: {:ok, state}
      @impl true
      def handle_stream_readable(_conn, _id, state), do: {:ok, state}
      defoverridable Weft.Handler
    end
  end
end
