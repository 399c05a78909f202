defmodule Weft.Connection do
  @moduledoc """
  A connection as a process: it owns the connection of the core and its streams, calls a `Weft.Handler`, and ends with
  the connection, or with its controlling process. Options: `host`, `port`, `config` (needed); `active` (true),
  `controlling_process`, `handler` (`Weft.Handler.Default`), `handler_opts`, `stream_recv_buffer_size` (65536),
  `drain_timeout` (2000 ms: when the process is shut down, or its controlling process ends in order, what was sent gets that long
  to arrive), `local_port` (only 0), `mode`. A stream's received bytes wait in the core; at most 128 KiB of a stream are in the process.
  """
  @behaviour :gen_statem
  require Logger
  alias Weft.{Error, Telemetry}

  @type id :: non_neg_integer()
  @buffer 65_536
  @linger 50
  @drain 2000
  # RFC 9000 20.1.
  @internal_error 1

  @doc "A temporary child: connections are not restarted."
  @spec child_spec(keyword()) :: Supervisor.child_spec()
  def child_spec(opts),
    do: %{id: __MODULE__, start: {__MODULE__, :start_link, [opts]}, restart: :temporary, shutdown: 5000}

  @doc "Starts a client's connection; `wait_connected/2` waits for it."
  @spec start_link(keyword()) :: {:ok, pid()} | {:error, term()}
  def start_link(opts) do
    opts = Keyword.put_new(opts, :controlling_process, self())
    :gen_statem.start_link(__MODULE__, opts, [])
  end

  @doc "The same under the application's supervisor; not linked to the caller."
  @spec connect(keyword()) :: {:ok, pid()} | {:error, term()}
  def connect(opts),
    do: opts |> Keyword.put_new(:controlling_process, self()) |> Weft.Application.start_connection()

  @doc "Waits until the handshake is complete."
  @spec wait_connected(pid(), timeout()) :: :ok | {:error, Error.t()}
  def wait_connected(pid, timeout \\ 5000), do: call(pid, :wait_connected, timeout)

  @doc "Opens a stream, `:bidirectional` or `:unidirectional`; its ID is what the other functions want."
  @spec open_stream(pid(), :bidirectional | :unidirectional) :: {:ok, id()} | {:error, Error.t()}
  def open_stream(pid, type \\ :bidirectional), do: call(pid, {:open_stream, type})

  @doc "Sends; returns when the core has taken it all. Options: `fin`, `timeout`, `nowait`; `true` is `fin: true`."
  @spec stream_send(pid(), id(), iodata(), boolean() | keyword()) ::
          {:ok, non_neg_integer()} | {:error, Error.t()}
  def stream_send(pid, id, data, opts \\ [])
  def stream_send(pid, id, data, fin) when is_boolean(fin), do: stream_send(pid, id, data, fin: fin)

  def stream_send(pid, id, data, opts),
    do: call(pid, {:send, id, data, opts[:fin] || false, opts[:nowait] || false}, opts[:timeout] || :infinity)

  @doc "What has come: `{:ok, {data, fin}}`; `reason: :done` when nothing has."
  @spec stream_recv(pid(), id(), pos_integer() | nil) :: {:ok, {binary(), boolean()}} | {:error, Error.t()}
  def stream_recv(pid, id, max_bytes \\ nil), do: call(pid, {:recv, id, max_bytes})

  @doc "Ends directions: `:write` with FIN (a reset, where a code is given), `:read` with STOP_SENDING."
  @spec stream_shutdown(pid(), id(), :read | :write | :both, id() | keyword()) :: :ok | {:error, Error.t()}
  def stream_shutdown(pid, id, direction, code \\ 0)

  def stream_shutdown(pid, id, direction, opts) when is_list(opts),
    do: stream_shutdown(pid, id, direction, opts[:error_code] || 0)

  def stream_shutdown(pid, id, direction, code), do: call(pid, {:shutdown, id, direction, code})

  @doc "The same as `open_stream/2`, or an exception."
  @spec open_stream!(pid(), :bidirectional | :unidirectional) :: id()
  def open_stream!(pid, type \\ :bidirectional), do: Error.bang!(open_stream(pid, type))

  @doc "The same as `stream_recv/3`, or an exception."
  @spec stream_recv!(pid(), id(), pos_integer() | nil) :: {binary(), boolean()}
  def stream_recv!(pid, id, max_bytes \\ nil), do: Error.bang!(stream_recv(pid, id, max_bytes))

  @doc "The same as `stream_send/4`, or an exception."
  @spec stream_send!(pid(), id(), iodata(), boolean() | keyword()) :: non_neg_integer()
  def stream_send!(pid, id, data, opts \\ []), do: Error.bang!(stream_send(pid, id, data, opts))

  @doc "Streams with something to read."
  @spec readable_streams(pid()) :: {:ok, [id()]} | {:error, Error.t()}
  def readable_streams(pid), do: call(pid, :readable)

  @doc "Streams that take bytes now."
  @spec writable_streams(pid()) :: {:ok, [id()]} | {:error, Error.t()}
  def writable_streams(pid), do: call(pid, :writable)

  @doc "Sends a datagram."
  @spec dgram_send(pid(), iodata()) :: :ok | {:error, Error.t()}
  def dgram_send(pid, data), do: call(pid, {:dgram_send, data})

  @doc "The next datagram that no handler was given (`active: false`)."
  @spec dgram_recv(pid(), timeout()) :: {:ok, binary()} | {:error, Error.t()}
  def dgram_recv(pid, timeout \\ 5000), do: call(pid, {:dgram_recv, timeout})

  @doc "Client: moves to a new local port, or to another local address."
  @spec migrate(pid(), nil | :inet.ip_address() | {:inet.ip_address(), :inet.port_number()}) ::
          :ok | {:error, Error.t()}
  def migrate(pid, local \\ nil), do: call(pid, {:migrate, local})

  @doc "Paths that were seen, `%{path => :active | :validated | :failed}`; a path is `{local, peer}`."
  @spec paths(pid()) :: {:ok, map()} | {:error, Error.t()}
  def paths(pid), do: call(pid, :paths)

  @doc "The path in use."
  @spec active_path(pid()) :: {:ok, {term(), term()}} | {:error, Error.t()}
  def active_path(pid), do: call(pid, :active_path)

  @doc "Counters (docs/stats.md)."
  @spec stats(pid()) :: {:ok, map()} | {:error, Error.t()}
  def stats(pid), do: call(pid, {:get, :stats})

  @doc "Round trips, congestion window and MTU of the path in use."
  @spec path_stats(pid()) :: {:ok, map()} | {:error, Error.t()}
  def path_stats(pid), do: call(pid, {:get, :path_stats})

  @doc "What is known about it."
  @spec info(pid()) :: {:ok, map()} | {:error, Error.t()}
  def info(pid), do: call(pid, {:get, :info})

  @doc "Whether the handshake is complete and it is not closed."
  @spec is_established?(pid()) :: boolean()
  def is_established?(pid), do: call(pid, :state) == {:ok, :connected}

  @doc "Whether it was closed and its last messages are under way."
  @spec is_draining?(pid()) :: boolean()
  def is_draining?(pid), do: call(pid, :state) == {:ok, :closed}

  @doc "Whether it is closed."
  @spec is_closed?(pid()) :: boolean()
  def is_closed?(pid), do: call(pid, :state) not in [{:ok, :connected}, {:ok, :handshaking}]

  @doc """
  Closes with an application error code and a reason. `drain: ms` first waits, at most that long, until the peer has
  acknowledged what was sent. What its program has not read by then may be lost to it (RFC 9000 10.2): where that matters let
  the receiver close.

      Weft.Connection.close(conn, error_code: 0, reason: "done", drain: 2000)
  """
  @spec close(pid(), keyword()) :: :ok
  def close(pid, opts \\ []) do
    _ = call(pid, {:close, opts[:error_code] || 0, opts[:reason] || "", opts[:drain] || 0})
    :ok
  end

  defp call(pid, request, timeout \\ :infinity) do
    operation = if is_tuple(request), do: elem(request, 0), else: request
    Error.wrap(:gen_statem.call(pid, request, timeout), operation)
  catch
    :exit, {:timeout, _} -> {:error, Error.new(:call, :timeout)}
    :exit, _ -> {:error, Error.new(:call, :closed)}
  end

  # The process.

  @impl true
  def callback_mode, do: :handle_event_function

  @impl true
  def init(opts) do
    Process.flag(:trap_exit, true)
    handler = opts[:handler] || Weft.Handler.Default

    handler_opts =
      Keyword.merge(Keyword.take(opts, [:controlling_process, :active]), opts[:handler_opts] || [])

    data = %{
      conn: nil,
      handler: handler,
      state: nil,
      active: Keyword.get(opts, :active, true),
      streams: %{},
      waiting: [],
      dgrams: :queue.new(),
      dgram_waiting: :queue.new(),
      paths: %{},
      close: nil,
      max: opts[:stream_recv_buffer_size] || @buffer,
      drain: opts[:drain_timeout] || @drain,
      spans: %{}
    }

    handler_opts = Keyword.put_new(handler_opts, :active, data.active)

    with {:ok, data} <- begin(opts, data), {:ok, state} <- handler.init(self(), handler_opts) do
      if owner = opts[:controlling_process], do: Process.monitor(owner)
      {:ok, :handshaking, %{data | state: state}}
    else
      {:error, reason} -> {:stop, reason}
    end
  end

  defp begin(opts, data) do
    if opts[:accepted] do
      {:ok, data}
    else
      unless opts[:local_port] in [nil, 0], do: raise(KeyError, message: "local_port: only 0 is possible")
      host = Keyword.fetch!(opts, :host)
      port = Keyword.fetch!(opts, :port)
      config = Keyword.fetch!(opts, :config)
      meta = %{host: host, port: port, mode: opts[:mode] || :auto, conn_pid: self()}

      spans =
        for name <- [:connect, :handshake],
            into: %{},
            do: {name, {Telemetry.start([:connection, name], meta), meta}}

      own = %{wait: false, active: 64, stream_active: :once}

      case :weft.connect(host, port, Map.merge(Weft.Config.to_options(config), own)) do
        {:ok, conn} -> {:ok, %{data | conn: conn, spans: spans}}
        {:error, reason} -> {:error, Error.new(:connect, reason)}
      end
    end
  rescue
    error in KeyError -> {:error, {:connection_error, error}}
  end

  # Whoever serves an accepted connection may know of it before it has been handed over.
  @impl true
  def handle_event({:call, _}, _, :handshaking, %{conn: nil}), do: {:keep_state_and_data, [:postpone]}

  def handle_event(:info, {:weft_take, conn}, _state, data) do
    data = %{data | conn: conn}

    case :weft.setopts(conn, active: 64) do
      :ok -> connected(data)
      {:error, {:closed, close}} -> closed(close, :handshaking, data)
      {:error, _} -> {:stop, :normal}
    end
  end

  def handle_event(:info, {:weft_connected, _}, :handshaking, data), do: connected(data)

  def handle_event(:info, {:weft_closed, {:weft_conn, _}, close}, state, data) when state != :closed,
    do: closed(close, state, data)

  def handle_event(:info, {:weft_passive, {:weft_conn, _}}, _, data) do
    _ = :weft.setopts(data.conn, active: 64)
    :keep_state_and_data
  end

  def handle_event(:info, {:weft_stream, _, stream}, _, data) do
    id = :weft.stream_id(stream)
    # Bit 1 of an ID: unidirectional (RFC 9000 2.1).
    type = if div(rem(id, 4), 2) == 1, do: :unidirectional, else: :bidirectional
    data = add(data, id, stream, type == :bidirectional)
    keep(run(data, :handle_stream_opened, [id, :incoming, type]))
  end

  def handle_event(:info, {:weft, {:weft_stream, _, id}, bytes}, _, data), do: arrived(data, id, bytes, false)
  def handle_event(:info, {:weft_fin, {:weft_stream, _, id}}, _, data), do: arrived(data, id, "", true)

  def handle_event(:info, {:weft_reset, {:weft_stream, _, id}, code}, _, data) do
    case data.streams do
      %{^id => s} ->
        data = put(data, id, %{s | error: {:reset, code}, buf: "", fin: false})
        keep(optional(data, :handle_stream_reset, [id, code]))

      _ ->
        :keep_state_and_data
    end
  end

  def handle_event(:info, {:weft_stopped, {:weft_stream, _, id}, code}, _, data) do
    case data.streams do
      %{^id => s} ->
        for {from, _, _, _} <- :queue.to_list(s.queue),
            from,
            do: :gen_statem.reply(from, {:error, {:stopped, code}})

        keep(put(data, id, %{s | writable: false, queue: :queue.new()}))

      _ ->
        :keep_state_and_data
    end
  end

  def handle_event(:info, {:weft_writable, {:weft_stream, _, id}}, _, data) do
    case data.streams do
      %{^id => s} ->
        s = flush(s)
        data = put(data, id, arm(s))
        keep(if :queue.is_empty(s.queue), do: optional(data, :handle_stream_writable, [id]), else: data)

      _ ->
        :keep_state_and_data
    end
  end

  def handle_event(:info, {:weft_closed, {:weft_stream, _, id}, _}, _, data) do
    case data.streams do
      %{^id => %{buf: "", fin: false}} -> keep(%{data | streams: Map.delete(data.streams, id)})
      %{^id => s} -> keep(put(data, id, %{s | gone: true}))
      _ -> :keep_state_and_data
    end
  end

  def handle_event(:info, {:weft_datagram, _, bytes}, _, data) do
    cond do
      not :queue.is_empty(data.dgram_waiting) ->
        {{:value, from}, rest} = :queue.out(data.dgram_waiting)
        answer = [{:reply, from, {:ok, bytes}}, {{:timeout, {:dgram, from}}, :infinity, :over}]
        {:keep_state, %{data | dgram_waiting: rest}, answer}

      data.active and function_exported?(data.handler, :handle_datagram, 3) ->
        keep(run(data, :handle_datagram, [bytes]))

      true ->
        queue = :queue.in(bytes, data.dgrams)
        keep(%{data | dgrams: if(:queue.len(queue) > 1024, do: :queue.drop(queue), else: queue)})
    end
  end

  def handle_event(:info, {:weft_path, _, what, path}, _, data),
    do: keep(optional(%{data | paths: Map.put(data.paths, path, what)}, :handle_path, [what, path]))

  def handle_event(:info, {:DOWN, _, :process, _, reason}, state, data) do
    if state == :connected and orderly?(reason), do: drain(data, data.drain)
    {:stop, :normal}
  end

  def handle_event(:info, {:EXIT, _, reason}, _, _data), do: {:stop, reason}
  def handle_event(:info, _other, _, _data), do: :keep_state_and_data
  def handle_event(:state_timeout, :gone, :closed, _data), do: {:stop, :normal}

  # The one who waited must not be given the datagram that comes next: it would be lost.
  def handle_event({:timeout, {:dgram, from}}, :over, state, data) when state != :closed do
    waiting = :queue.filter(&(&1 != from), data.dgram_waiting)
    {:keep_state, %{data | dgram_waiting: waiting}, [{:reply, from, {:error, :timeout}}]}
  end

  def handle_event({:timeout, _}, :over, :closed, _data), do: :keep_state_and_data

  def handle_event({:call, from}, :state, state, _), do: reply(from, {:ok, state})
  def handle_event({:call, from}, :wait_connected, :connected, _), do: reply(from, :ok)

  def handle_event({:call, from}, _, :closed, data), do: reply(from, {:error, {:closed, data.close}})

  def handle_event({:call, from}, :wait_connected, _, data),
    do: keep(%{data | waiting: [from | data.waiting]})

  def handle_event({:call, from}, {:close, code, reason, drain}, state, data) do
    if state == :connected, do: drain(data, drain)
    _ = close_conn(data, code, reason)
    :gen_statem.reply(from, :ok)
    closed(local_close(code, reason), state, data)
  end

  def handle_event({:call, from}, {:get, what}, _, data), do: reply(from, apply(:weft, what, [data.conn]))

  def handle_event({:call, from}, {:dgram_send, bytes}, _, data),
    do: reply(from, :weft.send_datagram(data.conn, bytes))

  def handle_event({:call, from}, {:migrate, nil}, _, data), do: reply(from, :weft.migrate(data.conn))

  def handle_event({:call, from}, {:migrate, local}, _, data),
    do: reply(from, :weft.migrate(data.conn, local))

  def handle_event({:call, from}, :active_path, _, data), do: reply(from, path(data))

  def handle_event({:call, from}, :paths, _, data) do
    case path(data) do
      {:ok, path} -> reply(from, {:ok, Map.put(data.paths, path, :active)})
      error -> reply(from, error)
    end
  end

  def handle_event({:call, from}, {:dgram_recv, timeout}, _, data) do
    case :queue.out(data.dgrams) do
      {{:value, bytes}, rest} ->
        {:keep_state, %{data | dgrams: rest}, [{:reply, from, {:ok, bytes}}]}

      {:empty, _} ->
        data = %{data | dgram_waiting: :queue.in(from, data.dgram_waiting)}
        {:keep_state, data, [{{:timeout, {:dgram, from}}, timeout, :over}]}
    end
  end

  def handle_event({:call, from}, :readable, _, data),
    do: reply(from, {:ok, for({id, s} <- data.streams, s.buf != "" or s.fin, do: id) |> Enum.sort()})

  def handle_event({:call, from}, :writable, _, data),
    do:
      reply(
        from,
        {:ok, for({id, s} <- data.streams, s.writable and :queue.is_empty(s.queue), do: id) |> Enum.sort()}
      )

  def handle_event({:call, from}, {:open_stream, type}, _, data) do
    {result, data} = open(data, type)
    {:keep_state, data, [{:reply, from, result}]}
  end

  def handle_event({:call, from}, {:recv, id, max}, _, data) do
    {result, data} = read(data, id, max || data.max)
    {:keep_state, data, [{:reply, from, result}]}
  end

  def handle_event({:call, from}, {:send, id, bytes, fin, nowait}, _, data) do
    case write(data, id, bytes, fin, if(nowait, do: :nowait, else: from)) do
      {:later, data} -> keep(data)
      {result, data} -> {:keep_state, data, [{:reply, from, result}]}
    end
  end

  def handle_event({:call, from}, {:shutdown, id, direction, code}, _, data) do
    {result, data} = shut(data, id, direction, code)
    {:keep_state, data, [{:reply, from, result}]}
  end

  def handle_event({:call, from}, _unknown, _, _data), do: reply(from, {:error, :einval})

  @impl true
  def terminate(reason, state, data) do
    if state == :connected and reason != :normal and orderly?(reason), do: drain(data, data.drain)
    if state != :closed, do: abandon(data, orderly?(reason))
    if function_exported?(data.handler, :terminate, 2), do: data.handler.terminate(reason, data.state)
    :ok
  end

  defp orderly?(reason), do: reason in [:normal, :shutdown] or match?({:shutdown, _}, reason)

  # A handler that raised is an error of ours: the peer must not take it for the end of the conversation.
  defp abandon(%{conn: nil}, _), do: :ok
  defp abandon(%{conn: conn}, true), do: :weft.close(conn, 0, "")
  defp abandon(%{conn: conn}, false), do: :weft.close_transport(conn, @internal_error, "")

  # What is being sent gets a limited time to arrive: what waits here, what waits in the core, and what was ended with FIN
  # until the peer has acknowledged it.
  defp drain(data, limit) do
    until = now() + limit
    for {_, s} <- data.streams, do: drain_stream(s, until)
    :ok
  end

  defp drain_stream(s, until) do
    sent =
      for {from, bytes, fin, size} <- :queue.to_list(s.queue) do
        result = push(s.stream, bytes, fin, left(until))
        if from, do: :gen_statem.reply(from, if(result == :ok, do: {:ok, size}, else: result))
        result
      end

    cond do
      Enum.any?(sent, &(&1 != :ok)) -> :ok
      s.ended -> :weft.await_finished(s.stream, left(until))
      true -> drain_pending(s.stream, until)
    end
  end

  defp drain_pending(stream, until) do
    with {:ok, %{pending: pending}} when pending > 0 <- :weft.info(stream), true <- left(until) > 0 do
      Process.sleep(5)
      drain_pending(stream, until)
    end
  end

  defp left(until), do: max(0, until - now())
  defp now, do: System.monotonic_time(:millisecond)

  # The handshake is complete.
  defp connected(data) do
    for from <- data.waiting, do: :gen_statem.reply(from, :ok)
    for {name, {began, meta}} <- data.spans, do: Telemetry.stop([:connection, name], began, meta)
    {:next_state, :connected, run(%{data | waiting: [], spans: %{}}, :handle_connected, [])}
  end

  defp closed(close, _state, data) do
    data = %{data | close: close}
    error = {:error, {:closed, close}}
    parked = for {_, s} <- data.streams, {from, _, _, _} <- :queue.to_list(s.queue), from, do: from

    for from <- data.waiting ++ parked ++ :queue.to_list(data.dgram_waiting),
        do: :gen_statem.reply(from, error)

    for {name, {began, meta}} <- data.spans,
        do: Telemetry.exception([:connection, name], began, :error, close, [], meta)

    began = Telemetry.start([:connection, :close], %{conn_pid: self(), reason: close})

    reason =
      if close.code == 0 and close.cause in [:local, :peer],
        do: :normal,
        else: Error.new(:connection, {:closed, close})

    data = run(%{data | waiting: [], streams: %{}, spans: %{}}, :handle_connection_closed, [reason])
    Telemetry.stop([:connection, :close], began, %{conn_pid: self(), reason: close})
    {:next_state, :closed, data, [{:state_timeout, @linger, :gone}]}
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

  defp close_conn(%{conn: nil}, _, _), do: :ok
  defp close_conn(%{conn: conn}, code, reason), do: :weft.close(conn, code, reason)

  defp path(data) do
    with {:ok, local} <- :weft.sockname(data.conn),
         {:ok, peer} <- :weft.peername(data.conn),
         do: {:ok, {local, peer}}
  end

  # Streams.

  defp add(data, id, stream, writable) do
    s = %{
      stream: stream,
      buf: "",
      fin: false,
      error: nil,
      writable: writable,
      ended: false,
      armed: true,
      gone: false,
      queue: :queue.new()
    }

    put(data, id, s)
  end

  defp put(data, id, s), do: %{data | streams: Map.put(data.streams, id, s)}

  defp open(data, type) when type in [:bidirectional, :unidirectional] do
    short = if type == :bidirectional, do: :bidi, else: :uni
    meta = %{conn_pid: self(), type: type}

    result =
      Telemetry.span([:stream, :open], meta, fn ->
        case :weft.open_stream(data.conn, %{type: short, active: :once, wait: false}) do
          {:ok, stream} -> {{:ok, stream}, %{}, %{stream_id: :weft.stream_id(stream)}}
          error -> {error, %{}, %{}}
        end
      end)

    case result do
      {:ok, stream} ->
        id = :weft.stream_id(stream)
        {{:ok, id}, run(add(data, id, stream, true), :handle_stream_opened, [id, :outgoing, type])}

      error ->
        {error, data}
    end
  end

  defp open(data, type),
    do: {{:error, {:options, "type: #{inspect(type)} is neither bidirectional nor unidirectional"}}, data}

  defp arrived(data, id, bytes, fin) do
    case data.streams do
      %{^id => s} ->
        s = %{s | buf: s.buf <> bytes, fin: s.fin or fin, armed: false}
        data = put(data, id, arm(s))
        keep(run(data, :handle_stream_readable, [id]))

      _ ->
        :keep_state_and_data
    end
  end

  # The core is asked for more only while little waits here, to be read or from a handler to be sent: that is the
  # back-pressure. What a caller waits to send does not count: it may be the peer who waits for us to read.
  defp arm(%{armed: false, fin: false, gone: false} = s) do
    if byte_size(s.buf) < @buffer and not :queue.any(fn {from, _, _, _} -> from == nil end, s.queue) do
      _ = :weft.setopts(s.stream, active: :once)
      %{s | armed: true}
    else
      s
    end
  end

  defp arm(s), do: s

  defp read(data, id, max) do
    case data.streams do
      %{^id => %{buf: "", fin: false, error: nil}} ->
        {{:error, :done}, data}

      %{^id => %{error: error}} when error != nil ->
        {{:error, error}, data}

      %{^id => s} when is_integer(max) and max > 0 ->
        began = Telemetry.start([:stream, :recv], %{conn_pid: self(), stream_id: id, max_bytes: max})
        n = min(max, byte_size(s.buf))
        <<head::binary-size(n), rest::binary>> = s.buf
        fin = s.fin and rest == ""
        s = arm(%{s | buf: rest, fin: s.fin and not fin, armed: s.armed or fin})
        meta = %{conn_pid: self(), stream_id: id, max_bytes: max, fin: fin}
        Telemetry.stop([:stream, :recv], began, meta, %{bytes_read: n})
        data = if fin and s.gone, do: %{data | streams: Map.delete(data.streams, id)}, else: put(data, id, s)
        {{:ok, {head, fin}}, data}

      %{^id => _} ->
        {{:error, {:options, "max_bytes: #{inspect(max)} is not above 0"}}, data}

      _ ->
        {{:error, :unknown_stream}, data}
    end
  end

  defp write(data, id, bytes, fin, who) do
    size = IO.iodata_length(bytes)
    meta = %{conn_pid: self(), stream_id: id, fin: fin, data_size: size}

    case data.streams do
      %{^id => %{writable: false}} ->
        {{:error, :write_closed}, data}

      %{^id => s} ->
        began = Telemetry.start([:stream, :send], meta, %{data_size: size})
        free = :queue.is_empty(s.queue)

        case if(free, do: push(s.stream, bytes, fin), else: {:error, :busy}) do
          :ok ->
            Telemetry.stop([:stream, :send], began, Map.put(meta, :partial, false), %{bytes_written: size})
            {{:ok, size}, put(data, id, %{s | writable: not fin, ended: fin})}

          {:error, :busy} when who != :nowait ->
            {:later,
             put(data, id, %{
               s
               | writable: not fin,
                 ended: fin,
                 queue: :queue.in({who, bytes, fin, size}, s.queue)
             })}

          {:error, reason} ->
            Telemetry.exception([:stream, :send], began, :error, reason, [], meta)
            {{:error, reason}, data}
        end

      _ ->
        {{:error, :unknown_stream}, data}
    end
  end

  defp push(stream, bytes, fin, timeout \\ :nowait)
  defp push(stream, bytes, true, timeout), do: :weft.send_fin(stream, bytes, timeout)
  defp push(stream, bytes, false, timeout), do: :weft.send(stream, bytes, timeout)

  defp flush(s) do
    case :queue.peek(s.queue) do
      :empty ->
        s

      {:value, {from, bytes, fin, size}} ->
        case push(s.stream, bytes, fin) do
          {:error, :busy} ->
            s

          result ->
            if from, do: :gen_statem.reply(from, if(result == :ok, do: {:ok, size}, else: result))
            flush(%{s | queue: :queue.drop(s.queue)})
        end
    end
  end

  defp shut(data, id, direction, code) do
    case data.streams do
      %{^id => s} when direction in [:read, :write, :both] ->
        meta = %{conn_pid: self(), stream_id: id, direction: direction, error_code: code}

        result =
          Telemetry.span([:stream, :shutdown], meta, fn ->
            {end_direction(s.stream, direction, code), %{}, %{}}
          end)

        ended = s.ended or (s.writable and code == 0 and direction != :read)
        {result, put(data, id, %{s | writable: s.writable and direction == :read, ended: ended})}

      %{^id => _} ->
        {{:error, {:options, "direction: #{inspect(direction)} is none of read, write, both"}}, data}

      _ ->
        {{:error, :unknown_stream}, data}
    end
  end

  defp end_direction(stream, :read, code), do: :weft.stop_sending(stream, code)
  defp end_direction(stream, :write, 0), do: :weft.shutdown(stream, :write)
  defp end_direction(stream, :write, code), do: :weft.reset(stream, code)
  defp end_direction(stream, :both, 0), do: :weft.close(stream)
  defp end_direction(stream, :both, code), do: :weft.close(stream, code)

  # The handler.

  defp optional(data, callback, args) do
    if function_exported?(data.handler, callback, length(args) + 2), do: run(data, callback, args), else: data
  end

  defp run(data, callback, args) do
    case apply(data.handler, callback, [self() | args] ++ [data.state]) do
      {:ok, state} -> %{data | state: state}
      {:ok, state, actions} -> Enum.reduce(actions, %{data | state: state}, &act/2)
    end
  end

  defp act({:read_stream, id, opts}, data) do
    case read(data, id, opts[:max_bytes] || data.max) do
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
    {result, data} = write(data, id, bytes, opts[:fin] || false, nil)
    warn(result, :send_data)
    data
  end

  defp act({:refuse_stream, id, code}, data), do: act({:shutdown_stream, id, :both, code}, data)
  defp act({:open_stream, opts}, data), do: data |> open(opts[:type] || :bidirectional) |> elem(1)

  defp act({:shutdown_stream, id, direction, code}, data) do
    {result, data} = shut(data, id, direction, code)
    warn(result, :shutdown_stream)
    data
  end

  defp act({:send_datagram, bytes}, data) do
    warn(:weft.send_datagram(data.conn, bytes), :send_datagram)
    data
  end

  # The message that it is closed ends the process.
  defp act({:close_connection, code, reason}, data) do
    _ = close_conn(data, code, reason)
    data
  end

  defp act(unknown, data) do
    Logger.warning("Weft.Handler: unknown action #{inspect(unknown)}", domain: [:weft])
    data
  end

  defp warn({:error, reason}, action),
    do: Logger.warning("Weft.Handler: #{Exception.message(Error.new(action, reason))}", domain: [:weft])

  defp warn(_, _), do: :ok

  defp keep(data), do: {:keep_state, data}
  defp reply(from, value), do: {:keep_state_and_data, [{:reply, from, value}]}
end
