defmodule Weft.Connection.Process do
  @moduledoc false
  # The process of a connection: handshaking -> connected -> closed, and then it stays until the closing or draining
  # period is over (RFC 9000 10.2), and a limited time longer if there is something left to read.
  #
  # It owns the core's connection and, through Weft.Connection.Streams, its streams. It knows no packets and no timers
  # of the protocol. Whoever waits in a call is answered exactly once: by what he waits for, or by the end.
  @behaviour :gen_statem
  require Logger
  alias Weft.Connection.Streams
  alias Weft.{Error, Telemetry}

  @read_most 65_536
  @linger 50
  @drain 2000
  @datagrams 1024
  @paths 32
  # RFC 9000 20.1.
  @internal_error 1

  @options [
    :host,
    :port,
    :config,
    :local_port,
    :mode,
    :stream_recv_buffer_size,
    :active,
    :controlling_process,
    :handler,
    :handler_opts,
    :drain_timeout,
    :session,
    :token,
    :accepted
  ]

  @impl true
  def callback_mode, do: :handle_event_function

  @impl true
  def init(opts) do
    Process.flag(:trap_exit, true)

    data = %{
      conn: nil,
      handler: opts[:handler] || Weft.Handler.Default,
      state: nil,
      active: Keyword.get(opts, :active, true),
      streams: %{},
      held: 0,
      full: false,
      strict: false,
      waiting: [],
      dgrams: :queue.new(),
      dgram_waiting: :queue.new(),
      paths: %{},
      close: nil,
      max: opts[:stream_recv_buffer_size] || @read_most,
      drain: opts[:drain_timeout] || @drain,
      spans: %{}
    }

    handler_opts =
      opts
      |> Keyword.take([:controlling_process, :active])
      |> Keyword.merge(opts[:handler_opts] || [])
      |> Keyword.put_new(:active, data.active)

    with {:ok, data} <- begin(opts, data),
         {:ok, state} <- handler_init(data, handler_opts) do
      if owner = opts[:controlling_process], do: Process.monitor(owner)
      {:ok, :handshaking, %{data | state: state}}
    else
      {:error, reason} -> {:stop, reason}
    end
  end

  defp handler_init(data, opts) do
    case data.handler.init(self(), opts) do
      {:ok, state} ->
        {:ok, state}

      {:error, reason} ->
        failed(data, reason)
        {:error, reason}

      other ->
        raise ArgumentError,
              "#{inspect(data.handler)}.init/2 gave #{inspect(other)}, not {:ok, state} or {:error, reason}"
    end
  end

  defp begin(opts, data) do
    known!(opts)
    if opts[:accepted], do: {:ok, data}, else: begin_client(opts, data)
  rescue
    error in [KeyError, ArgumentError] -> {:error, {:connection_error, error}}
  end

  defp begin_client(opts, data) do
    [host, port, config] = for name <- [:host, :port, :config], do: Keyword.fetch!(opts, name)
    meta = %{host: host, port: port, mode: opts[:mode] || :auto, conn_pid: self()}

    spans =
      for name <- [:connect, :handshake],
          into: %{},
          do: {name, {Telemetry.start([:connection, name], meta), meta}}

    data = %{data | spans: spans}

    own =
      opts
      |> Keyword.take([:session, :token])
      |> Map.new()
      |> Map.merge(%{wait: false, active: 64, stream_active: :once})

    case :weft.connect(host, port, Map.merge(Weft.Config.to_options(config), own)) do
      {:ok, conn} ->
        {:ok, %{data | conn: conn}}

      {:error, reason} ->
        failed(data, reason)
        {:error, Error.new(:connect, reason)}
    end
  end

  defp known!(opts) do
    for {name, value} <- opts do
      cond do
        name not in @options ->
          raise ArgumentError,
                "unknown option #{inspect(name)}; known are #{inspect(@options -- [:accepted])}"

        name == :local_port and value not in [nil, 0] ->
          raise ArgumentError, "local_port: only 0 is possible"

        name in [:stream_recv_buffer_size, :drain_timeout] and not (is_integer(value) and value > 0) ->
          raise ArgumentError, "#{name}: #{inspect(value)} is not above 0"

        true ->
          :ok
      end
    end
  end

  # Whoever serves an accepted connection may know of it before it has been handed over.
  @impl true
  def handle_event({:call, _}, _, :handshaking, %{conn: nil}), do: {:keep_state_and_data, [:postpone]}

  def handle_event(:info, {:weft_take, conn}, _state, data) do
    data = %{data | conn: conn}

    case :weft.setopts(conn, active: 64) do
      :ok -> connected(data)
      {:error, {:closed, close}} -> closed(close, data)
      {:error, _} -> {:stop, :normal}
    end
  end

  def handle_event(:info, {:weft_connected, _}, :handshaking, data), do: connected(data)

  def handle_event(:info, {:weft_closed, {:weft_conn, _}, close}, state, data) when state != :closed,
    do: closed(close, data)

  def handle_event(:info, {:weft_passive, {:weft_conn, _}}, _, data) do
    _ = :weft.setopts(data.conn, active: 64)
    :keep_state_and_data
  end

  def handle_event(:info, {:weft_stream, _, stream}, _, data) do
    id = :weft.stream_id(stream)
    # Bit 1 of an ID: unidirectional (RFC 9000 2.1).
    type = if rem(id, 4) >= 2, do: :unidirectional, else: :bidirectional
    data = Streams.add(data, id, stream, type == :bidirectional)
    data = run(data, :handle_stream_opened, [id, :incoming, type])
    # One that came while too much was held waits; if that is over, nobody else will ask for it.
    keep(on_stream(data, id, &Streams.arm(&1, data)))
  end

  def handle_event(:info, {:weft, {:weft_stream, _, id}, bytes}, _, data), do: arrived(data, id, bytes, false)
  def handle_event(:info, {:weft_fin, {:weft_stream, _, id}}, _, data), do: arrived(data, id, "", true)

  def handle_event(:info, {:weft_reset, {:weft_stream, _, id}, code}, _, data) do
    if is_map_key(data.streams, id),
      do: keep(optional(Streams.reset(data, id, code), :handle_stream_reset, [id, code])),
      else: :keep_state_and_data
  end

  def handle_event(:info, {:weft_stopped, {:weft_stream, _, id}, code}, _, data),
    do: keep(on_stream(data, id, &Streams.refuse(&1, {:stopped, code})))

  def handle_event(:info, {:weft_writable, {:weft_stream, _, id}}, _, data) do
    case on_stream(data, id, &Streams.arm(Streams.flush(&1), data)) do
      %{streams: %{^id => %{queue: queue, writable: true}}} = data ->
        keep(if :queue.is_empty(queue), do: optional(data, :handle_stream_writable, [id]), else: data)

      data ->
        keep(data)
    end
  end

  def handle_event(:info, {:weft_closed, {:weft_stream, _, id}, _}, _, data), do: keep(Streams.gone(data, id))

  def handle_event(:info, {:weft_datagram, _, bytes}, _, data), do: datagram(data, bytes)

  def handle_event(:info, {:weft_session, _, session}, _, data),
    do: keep(optional(data, :handle_session, [session]))

  def handle_event(:info, {:weft_path, _, what, path}, _, data) do
    # A peer that moves on and on must not be remembered everywhere it was.
    paths = if map_size(data.paths) < @paths, do: data.paths, else: %{}
    keep(optional(%{data | paths: Map.put(paths, path, what)}, :handle_path, [what, path]))
  end

  def handle_event(:info, {:DOWN, _, :process, _, reason}, state, data) do
    data = if state == :connected and orderly?(reason), do: Streams.drain(data, data.drain), else: data
    {:stop, :normal, data}
  end

  # The supervisor's are gen_statem's to see; these are of processes that a handler is linked with.
  def handle_event(:info, {:EXIT, _, :normal}, _, _data), do: :keep_state_and_data
  def handle_event(:info, {:EXIT, _, reason}, _, _data), do: {:stop, reason}
  def handle_event(:info, _other, _, _data), do: :keep_state_and_data

  def handle_event(:state_timeout, :gone, :closed, data) do
    if Streams.readable(data) == [] and :queue.is_empty(data.dgrams),
      do: {:stop, :normal},
      else: {:keep_state_and_data, [{:state_timeout, data.drain, :forgotten}]}
  end

  def handle_event(:state_timeout, :forgotten, :closed, _data), do: {:stop, :normal}

  # The one who waited must not be given the datagram that comes next: it would be lost.
  def handle_event({:timeout, {:dgram, from}}, :over, state, data) when state != :closed do
    waiting = :queue.filter(&(&1 != from), data.dgram_waiting)
    {:keep_state, %{data | dgram_waiting: waiting}, [{:reply, from, {:error, :timeout}}]}
  end

  def handle_event({:timeout, _}, :over, :closed, _data), do: :keep_state_and_data

  def handle_event({:call, from}, request, state, data), do: request(request, from, state, data)

  # What is asked.

  defp request(:state, from, state, _), do: reply(from, {:ok, state})
  defp request({:ask, :stats, []}, from, _, data), do: reply(from, :weft.stats(data.conn))
  defp request(:draining, from, _, data), do: reply(from, :weft.draining(data.conn))
  defp request(:wait_connected, from, :connected, _), do: reply(from, :ok)
  defp request(:readable_streams, from, _, data), do: reply(from, {:ok, Streams.readable(data)})

  defp request({:stream_recv, id, max}, from, state, data)
       when state != :closed or is_map_key(data.streams, id) do
    {result, data} = Streams.read(data, id, max || data.max)
    {:keep_state, data, [{:reply, from, result}]}
  end

  defp request({:dgram_recv, timeout}, from, state, data) do
    case :queue.out(data.dgrams) do
      {{:value, bytes}, rest} ->
        {:keep_state, %{data | dgrams: rest}, [{:reply, from, {:ok, bytes}}]}

      {:empty, _} when state == :closed ->
        reply(from, {:error, {:closed, data.close}})

      {:empty, _} ->
        data = %{data | dgram_waiting: :queue.in(from, data.dgram_waiting)}
        {:keep_state, data, [{{:timeout, {:dgram, from}}, timeout, :over}]}
    end
  end

  defp request(_, from, :closed, data), do: reply(from, {:error, {:closed, data.close}})
  defp request(:wait_connected, from, _, data), do: keep(%{data | waiting: [from | data.waiting]})

  defp request({:close, code, reason, drain}, from, state, data) do
    data = if state == :connected and drain > 0, do: Streams.drain(data, drain), else: data
    _ = :weft.close(data.conn, code, reason)
    :gen_statem.reply(from, :ok)
    closed(local_close(code, reason), data)
  end

  defp request({:ask, what, args}, from, _, data), do: reply(from, apply(:weft, what, [data.conn | args]))
  defp request(:active_path, from, _, data), do: reply(from, path(data))

  defp request(:paths, from, _, data) do
    case path(data) do
      {:ok, path} -> reply(from, {:ok, Map.put(data.paths, path, :active)})
      error -> reply(from, error)
    end
  end

  defp request(:writable_streams, from, _, data), do: reply(from, {:ok, Streams.writable(data)})

  defp request({:open_stream, type}, from, _, data) do
    case open(data, type) do
      {:ok, id, data} -> {:keep_state, data, [{:reply, from, {:ok, id}}]}
      error -> reply(from, error)
    end
  end

  defp request({:stream_send, id, bytes, fin, nowait}, from, _, data) do
    case Streams.write(data, id, bytes, fin, if(nowait, do: :nowait, else: from)) do
      {:later, data} -> keep(data)
      {result, data} -> {:keep_state, data, [{:reply, from, result}]}
    end
  end

  defp request({:stream_shutdown, id, direction, code}, from, _, data) do
    case Streams.shut(data, id, direction, code) do
      {:error, _} = error -> reply(from, error)
      {result, data} -> {:keep_state, data, [{:reply, from, result}]}
    end
  end

  defp request(_unknown, from, _, _data), do: reply(from, {:error, :einval})

  @impl true
  def terminate(reason, state, data) do
    orderly = orderly?(reason)

    # Elixir's own translation of reports knows no state machines (1.14).
    unless orderly,
      do:
        Logger.error("Weft.Connection #{inspect(self())} ends: #{Exception.format_exit(reason)}",
          domain: [:weft]
        )

    data =
      if state == :connected and reason != :normal and orderly,
        do: Streams.drain(data, data.drain),
        else: data

    if state != :closed, do: abandon(data, orderly)
    failed(data, reason)
    if function_exported?(data.handler, :terminate, 2), do: data.handler.terminate(reason, data.state)
    :ok
  end

  # What sys:get_status and the report of a crash show: IDs, states and counts, nobody's payload, no keys.
  @impl true
  def format_status(:terminate, [_dictionary, state, data]), do: {state, shown(data)}
  def format_status(:normal, [_dictionary, state, data]), do: [data: [{'State', {state, shown(data)}}]]

  defp shown(data) do
    %{
      handler: data.handler,
      active: data.active,
      streams: Streams.shown(data),
      datagrams: :queue.len(data.dgrams),
      paths: data.paths,
      close: data.close
    }
  end

  defp orderly?(reason), do: reason in [:normal, :shutdown] or match?({:shutdown, _}, reason)

  # A handler that raised is an error of ours: the peer must not take it for the end of the conversation.
  defp abandon(%{conn: nil}, _), do: :ok
  defp abandon(%{conn: conn}, true), do: :weft.close(conn, 0, "")
  defp abandon(%{conn: conn}, false), do: :weft.close_transport(conn, @internal_error, "")

  # The handshake is complete.
  defp connected(data) do
    for from <- data.waiting, do: :gen_statem.reply(from, :ok)
    for {name, {began, meta}} <- data.spans, do: Telemetry.stop([:connection, name], began, meta)
    {:next_state, :connected, run(%{data | waiting: [], spans: %{}}, :handle_connected, [])}
  end

  # What began to connect has not.
  defp failed(data, reason) do
    for {name, {began, meta}} <- data.spans,
        do: Telemetry.exception([:connection, name], began, :error, reason, [], meta)
  end

  # Who closes does not read on. When the peer has closed, or the network has, what it had sent before comes first.
  defp closed(close, data) do
    began = Telemetry.start([:connection, :close], %{conn_pid: self(), reason: close})
    failed(data, close)
    for {_, s} <- data.streams, do: Streams.refuse(s, {:closed, close})
    error = {:error, {:closed, close}}
    for from <- data.waiting ++ :queue.to_list(data.dgram_waiting), do: :gen_statem.reply(from, error)
    data = %{data | close: close, waiting: [], dgram_waiting: :queue.new(), spans: %{}}

    data =
      if close.cause == :local do
        %{data | streams: %{}, held: 0, dgrams: :queue.new()}
      else
        {fresh, data} = Streams.take_rest(data)
        Enum.reduce(fresh, data, &told_rest/2)
      end

    data = run(data, :handle_connection_closed, [reason(close)])
    Telemetry.stop([:connection, :close], began, %{conn_pid: self(), reason: close}, traffic(data))
    {:next_state, :closed, data, [{:state_timeout, linger(data), :gone}]}
  end

  defp traffic(data) do
    case Telemetry.enabled?() and :weft.stats(data.conn) do
      {:ok, stats} -> Map.take(stats, [:bytes_sent, :bytes_received, :packets_sent, :packets_received])
      _ -> %{}
    end
  end

  defp told_rest(id, data),
    do: if(is_map_key(data.streams, id), do: run(data, :handle_stream_readable, [id]), else: data)

  defp reason(%{code: 0, cause: cause}) when cause in [:local, :peer], do: :normal
  defp reason(close), do: Error.new(:connection, {:closed, close})

  defp linger(data) do
    case :weft.draining(data.conn) do
      {:ok, ns} -> max(@linger, div(ns + 999_999, 1_000_000))
      {:error, _} -> @linger
    end
  end

  defp local_close(code, reason),
    do: %{
      cause: :local,
      layer: :application,
      code: code,
      reason: IO.iodata_to_binary(reason),
      error: :ok,
      frame_type: 0
    }

  defp path(data) do
    with {:ok, local} <- :weft.sockname(data.conn),
         {:ok, peer} <- :weft.peername(data.conn),
         do: {:ok, {local, peer}}
  end

  # Streams and datagrams.

  defp open(data, type) do
    with {:ok, id, data} <- Streams.open(data, type),
         do: {:ok, id, run(data, :handle_stream_opened, [id, :outgoing, type])}
  end

  defp on_stream(data, id, fun),
    do: if(is_map_key(data.streams, id), do: Streams.update(data, id, fun), else: data)

  defp arrived(data, id, bytes, fin) do
    if is_map_key(data.streams, id),
      do: keep(run(Streams.arrived(data, id, bytes, fin), :handle_stream_readable, [id])),
      else: :keep_state_and_data
  end

  defp datagram(data, bytes) do
    case next_waiter(data.dgram_waiting) do
      {from, rest} ->
        over = {{:timeout, {:dgram, from}}, :infinity, :over}
        {:keep_state, %{data | dgram_waiting: rest}, [{:reply, from, {:ok, bytes}}, over]}

      nil ->
        data = %{data | dgram_waiting: :queue.new()}

        if data.active and function_exported?(data.handler, :handle_datagram, 3) do
          keep(run(data, :handle_datagram, [bytes]))
        else
          queue = :queue.in(bytes, data.dgrams)
          keep(%{data | dgrams: if(:queue.len(queue) > @datagrams, do: :queue.drop(queue), else: queue)})
        end
    end
  end

  # One who has died meanwhile is given nothing.
  defp next_waiter(queue) do
    case :queue.out(queue) do
      {{:value, {pid, _} = from}, rest} ->
        if node(pid) != node() or Process.alive?(pid), do: {from, rest}, else: next_waiter(rest)

      {:empty, _} ->
        nil
    end
  end

  # The handler.

  defp optional(data, callback, args) do
    if function_exported?(data.handler, callback, length(args) + 2), do: run(data, callback, args), else: data
  end

  defp run(data, callback, args) do
    case apply(data.handler, callback, [self() | args] ++ [data.state]) do
      {:ok, state} ->
        %{data | state: state}

      {:ok, state, actions} when is_list(actions) ->
        Enum.reduce(actions, %{data | state: state}, &act/2)

      other ->
        raise ArgumentError,
              "#{inspect(data.handler)}.#{callback}/#{length(args) + 2} gave #{inspect(other)}, " <>
                "not {:ok, state} or {:ok, state, actions}"
    end
  end

  defp act({:read_stream, id, opts}, data) do
    case Streams.read(data, id, opts[:max_bytes] || data.max) do
      {{:ok, {bytes, fin}}, data} ->
        data = optional(data, :handle_stream_data, [id, bytes, fin])
        data = if fin, do: optional(data, :handle_stream_finished, [id]), else: data
        more = match?(%{^id => %{buf: buf}} when buf != "", data.streams)
        if more and opts[:max_bytes] == nil, do: act({:read_stream, id, opts}, data), else: data

      {_, data} ->
        data
    end
  end

  defp act({:send_data, id, bytes}, data), do: act({:send_data, id, bytes, []}, data)

  defp act({:send_data, id, bytes, opts}, data) do
    {result, data} = Streams.write(data, id, bytes, opts[:fin] || false, nil)
    warn(result, :send_data, data)
    data
  end

  defp act({:refuse_stream, id, code}, data), do: act({:shutdown_stream, id, :both, code}, data)

  defp act({:open_stream, opts}, data) do
    case open(data, opts[:type] || :bidirectional) do
      {:ok, _id, data} ->
        data

      error ->
        warn(error, :open_stream, data)
        data
    end
  end

  defp act({:shutdown_stream, id, direction, code}, data) do
    case Streams.shut(data, id, direction, code) do
      {:error, _} = error ->
        warn(error, :shutdown_stream, data)
        data

      {result, data} ->
        warn(result, :shutdown_stream, data)
        data
    end
  end

  defp act({:send_datagram, bytes}, data) do
    warn(:weft.send_datagram(data.conn, bytes), :send_datagram, data)
    data
  end

  # The message that it is closed ends the process.
  defp act({:close_connection, code, reason}, data) do
    _ = :weft.close(data.conn, code, reason)
    data
  end

  defp act(unknown, data) do
    Logger.warning("Weft.Handler: unknown action #{inspect(unknown)}", domain: [:weft])
    data
  end

  # Of a connection that is over nobody wonders that nothing can be sent.
  defp warn({:error, {:closed, _}}, _, _), do: :ok

  defp warn({:error, reason}, action, %{close: nil}),
    do: Logger.warning("Weft.Handler: #{Exception.message(Error.new(action, reason))}", domain: [:weft])

  defp warn(_, _, _), do: :ok

  defp keep(data), do: {:keep_state, data}
  defp reply(from, value), do: {:keep_state_and_data, [{:reply, from, value}]}
end
