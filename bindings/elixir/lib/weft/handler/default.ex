defmodule Weft.Handler.Default do
  @moduledoc """
  Sends messages to the controlling process; the handler of connections that are given no other. `conn` is the connection's
  process, a path is `{local, peer}`.

  | message | |
  |---|---|
  | `{:quic_connected, conn}` | the handshake is complete |
  | `{:quic_stream_opened, conn, id, direction, type}` | `:incoming` or `:outgoing`, `:bidirectional` or `:unidirectional` |
  | `{:quic_stream_data, conn, id, data, fin}` | with `active: true`: what has come; the last may be empty |
  | `{:quic_stream_readable, conn, id}` | with `active: false`: `Weft.Connection.stream_recv/3` has something |
  | `{:quic_stream_finished, conn, id}` | after the last data |
  | `{:quic_stream_writable, conn, id}` | there is room again |
  | `{:quic_stream_reset, conn, id, code}` | the peer has broken off |
  | `{:quic_dgram, conn, data}` | with `active: true`: a datagram |
  | `{:quic_path_created, conn, path, local, peer}` | a path was heard of for the first time |
  | `{:quic_path_validated, conn, path}` | RFC 9000 8.2 |
  | `{:quic_path_failed, conn, path, reason}` | `reason` is `:validation_failed` |
  | `{:quic_session, conn, session}` | client: a session, for another connection |
  | `{:quic_connection_error, conn, error}` | before the next, when the end is an error: a `Weft.Error` |
  | `{:quic_connection_closed, conn, reason}` | the last: `:normal`, or the same error |

      receive do
        {:quic_stream_data, ^conn, id, data, _fin} -> {id, data}
        {:quic_connection_closed, ^conn, reason} -> reason
      end
  """
  @behaviour Weft.Handler

  @impl true
  def init(_conn, opts),
    do: {:ok, %{to: opts[:controlling_process], active: opts[:active], paths: MapSet.new()}}

  @impl true
  def handle_connected(conn, state), do: tell(state, {:quic_connected, conn})

  @impl true
  def handle_connection_closed(conn, reason, state) do
    unless reason == :normal, do: tell(state, {:quic_connection_error, conn, reason})
    tell(state, {:quic_connection_closed, conn, reason})
  end

  @impl true
  def handle_stream_opened(conn, id, direction, type, state),
    do: tell(state, {:quic_stream_opened, conn, id, direction, type})

  @impl true
  def handle_stream_readable(_conn, id, %{active: true} = state), do: {:ok, state, [{:read_stream, id, []}]}
  def handle_stream_readable(conn, id, state), do: tell(state, {:quic_stream_readable, conn, id})

  @impl true
  def handle_stream_data(conn, id, data, fin, state),
    do: tell(state, {:quic_stream_data, conn, id, data, fin})

  @impl true
  def handle_stream_finished(conn, id, state), do: tell(state, {:quic_stream_finished, conn, id})

  @impl true
  def handle_stream_writable(conn, id, state), do: tell(state, {:quic_stream_writable, conn, id})

  @impl true
  def handle_stream_reset(conn, id, code, state), do: tell(state, {:quic_stream_reset, conn, id, code})

  @impl true
  def handle_datagram(conn, data, state), do: tell(state, {:quic_dgram, conn, data})

  @impl true
  def handle_path(conn, what, {local, peer} = path, state) do
    unless MapSet.member?(state.paths, path), do: tell(state, {:quic_path_created, conn, path, local, peer})
    if what == :validated, do: tell(state, {:quic_path_validated, conn, path})
    if what == :failed, do: tell(state, {:quic_path_failed, conn, path, :validation_failed})
    # A peer that moves on and on must not be remembered everywhere it was.
    known = if MapSet.size(state.paths) < 32, do: state.paths, else: MapSet.new()
    {:ok, %{state | paths: MapSet.put(known, path)}}
  end

  @impl true
  def handle_session(conn, session, state), do: tell(state, {:quic_session, conn, session})

  defp tell(state, message) do
    send(state.to, message)
    {:ok, state}
  end
end
