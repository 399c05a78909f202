defmodule Weft.Handler.Default do
  @moduledoc """
  Sends messages to the controlling process: `{:quic_connected, conn}`, `{:quic_connection_closed, conn, reason}`,
  `{:quic_connection_error, conn, reason}` (before it, when the end is an error), `{:quic_stream_opened, conn, id,
  direction, type}`, `{:quic_stream_readable, conn, id}` (`active: false`), `{:quic_stream_data, conn, id, data, fin}`
  (`active: true`), `{:quic_stream_finished, conn, id}`, `{:quic_stream_writable, conn, id}`, `{:quic_stream_reset,
  conn, id, code}`, `{:quic_dgram, conn, data}`, `{:quic_path_created, conn, path, local, peer}`,
  `{:quic_path_validated, conn, path}`, `{:quic_path_failed, conn, path, reason}`; a path is `{local, peer}`.
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
    {:ok, %{state | paths: MapSet.put(state.paths, path)}}
  end

  defp tell(state, message) do
    send(state.to, message)
    {:ok, state}
  end
end
