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

  ## Actions

  | action | |
  |---|---|
  | `{:read_stream, id, max_bytes: n}` | gives `handle_stream_data/5` at most `n` bytes; without `max_bytes` all there is, in pieces |
  | `{:send_data, id, data, fin: boolean}` | sends; what the core does not take yet waits in the process |
  | `{:open_stream, type: type}` | opens one, `:bidirectional` or `:unidirectional`; `handle_stream_opened/5` has its ID |
  | `{:shutdown_stream, id, direction, code}` | as `Weft.Connection.stream_shutdown/4` |
  | `{:refuse_stream, id, code}` | the same in both directions |
  | `{:send_datagram, data}` | RFC 9221 |
  | `{:close_connection, code, reason}` | RFC 9000 10.2; code 0 is no error |

  An action that is not known, or that fails, is a warning of the logger (domain `:weft`). As long as bytes of `:send_data` wait,
  their stream is not read: an echo is as slow as its reader.

  A callback that raises, or returns something else, ends its connection, and no other: the peer is told INTERNAL_ERROR (RFC 9000
  20.1).
  """
  @typedoc "What the callbacks of one connection hand on."
  @type state :: term()
  @type id :: Weft.Connection.id()
  @type action ::
          {:read_stream, id(), keyword()}
          | {:send_data, id(), iodata()}
          | {:send_data, id(), iodata(), keyword()}
          | {:refuse_stream, id(), Weft.Connection.code()}
          | {:open_stream, keyword()}
          | {:shutdown_stream, id(), Weft.Connection.direction(), Weft.Connection.code()}
          | {:send_datagram, iodata()}
          | {:close_connection, Weft.Connection.code(), iodata()}
  @type result :: {:ok, state()} | {:ok, state(), [action()]}

  @doc """
  The connection's process begins. `opts` are `handler_opts` of the connection or the listener, with `controlling_process` and `active`.
  An error is the result of `Weft.Connection.start_link/1`.

      def init(_conn, opts), do: {:ok, %{room: opts[:room]}}
  """
  @callback init(conn :: pid(), opts :: keyword()) :: {:ok, state()} | {:error, term()}

  @doc """
  The handshake is complete (RFC 9001 4.1.1).

      def handle_connected(_conn, state), do: {:ok, state, [{:open_stream, type: :bidirectional}]}
  """
  @callback handle_connected(conn :: pid(), state()) :: result()

  @doc """
  The connection is over: `:normal`, or a `Weft.Error` with `cause` and `code`. What had arrived before was told before.

      def handle_connection_closed(_conn, %Weft.Error{cause: :idle_timeout}, state), do: {:ok, state}
  """
  @callback handle_connection_closed(conn :: pid(), reason :: :normal | Weft.Error.t(), state()) :: result()

  @doc """
  There is a stream, opened by the peer (`:incoming`) or by us.

      def handle_stream_opened(_conn, id, :incoming, :unidirectional, state), do: {:ok, state, [{:refuse_stream, id, 1}]}
  """
  @callback handle_stream_opened(
              conn :: pid(),
              id(),
              :incoming | :outgoing,
              Weft.Connection.stream_type(),
              state()
            ) :: result()

  @doc """
  There is something to read, or the stream's end.

      def handle_stream_readable(_conn, id, state), do: {:ok, state, [{:read_stream, id, max_bytes: 4096}]}
  """
  @callback handle_stream_readable(conn :: pid(), id(), state()) :: result()

  @doc """
  What `:read_stream` has read. `fin`: these were the last; `data` may be empty then.

      def handle_stream_data(_conn, id, data, fin, state), do: {:ok, state, [{:send_data, id, data, fin: fin}]}
  """
  @callback handle_stream_data(conn :: pid(), id(), data :: binary(), fin :: boolean(), state()) :: result()

  @doc """
  The peer's direction was read to its end.

      def handle_stream_finished(_conn, id, state), do: {:ok, state, [{:send_data, id, "thanks", fin: true}]}
  """
  @callback handle_stream_finished(conn :: pid(), id(), state()) :: result()

  @doc """
  There is room again on a stream that had to wait.

      def handle_stream_writable(_conn, id, state), do: {:ok, state, [{:send_data, id, "more"}]}
  """
  @callback handle_stream_writable(conn :: pid(), id(), state()) :: result()

  @doc """
  The peer has broken its direction off (RESET_STREAM, RFC 9000 19.4).

      def handle_stream_reset(_conn, id, code, state), do: {:ok, state, [{:shutdown_stream, id, :write, code}]}
  """
  @callback handle_stream_reset(conn :: pid(), id(), Weft.Connection.code(), state()) :: result()

  @doc """
  A datagram (RFC 9221). Without it, or with `active: false`, `Weft.Connection.dgram_recv/2` fetches them.

      def handle_datagram(_conn, data, state), do: {:ok, state, [{:send_datagram, data}]}
  """
  @callback handle_datagram(conn :: pid(), data :: binary(), state()) :: result()

  @doc """
  News of a path (RFC 9000 9): `:validated`, `:failed`, or `:active`, the one in use.

      def handle_path(_conn, :active, {_local, peer}, state), do: {:ok, %{state | peer: peer}}
  """
  @callback handle_path(conn :: pid(), :validated | :failed | :active, Weft.Connection.path(), state()) ::
              result()

  @doc """
  Client: the server has given a session, for `session` of a later connection. There may be several.

      def handle_session(_conn, session, state), do: {:ok, %{state | session: session}}
  """
  @callback handle_session(conn :: pid(), session :: binary(), state()) :: result()

  @doc """
  The process ends.

      def terminate(_reason, state), do: File.close(state.file)
  """
  @callback terminate(reason :: term(), state()) :: term()

  @optional_callbacks handle_stream_data: 5,
                      handle_stream_finished: 3,
                      handle_stream_writable: 3,
                      handle_stream_reset: 4,
                      handle_datagram: 3,
                      handle_path: 4,
                      handle_session: 3,
                      terminate: 2

  @doc """
  Makes a module a handler whose needed callbacks do nothing, until they are defined.

      defmodule Silent do
        use Weft.Handler
      end
  """
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
