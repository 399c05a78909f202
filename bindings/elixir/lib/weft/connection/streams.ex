defmodule Weft.Connection.Streams do
  @moduledoc false
  # The streams of one connection, as its process keeps them: a map from IDs (RFC 9000 2.1) to entries, in `data.streams`.
  #
  # What has arrived waits in the core; the process holds at most @buffer bytes and one message of a stream, and asks
  # for more when less is left. Of all streams together it holds about @held: beyond that only streams that somebody has
  # tried to read are asked for more, so that a peer who opens many costs a reader who sleeps a bounded sum. What is to be
  # sent and was refused waits in the entry's queue, each part with the caller who is to be answered.
  #
  # The invariant that matters: data.held is the sum of the sizes of all entries' `buf`.
  alias Weft.{Error, Telemetry}

  @buffer 65_536
  @held 1_048_576

  def add(data, id, stream, writable) do
    entry = %{
      stream: stream,
      buf: "",
      fin: false,
      error: nil,
      writable: writable,
      ended: false,
      # Streams begin as `:once`, unless too much was held: and that can have been before this was heard of.
      armed: not data.strict,
      wanted: false,
      gone: false,
      queue: :queue.new()
    }

    put(data, id, entry)
  end

  def put(data, id, entry), do: %{data | streams: Map.put(data.streams, id, entry)}

  def open(data, type) when type in [:bidirectional, :unidirectional] do
    short = if type == :bidirectional, do: :bidi, else: :uni

    Telemetry.span([:stream, :open], %{conn_pid: self(), type: type}, fn ->
      case :weft.open_stream(data.conn, %{type: short, active: :once, wait: false}) do
        {:ok, stream} ->
          id = :weft.stream_id(stream)
          data = data |> add(id, stream, true) |> update(id, &%{&1 | armed: true, wanted: true})
          {{:ok, id, data}, %{}, %{stream_id: id}}

        error ->
          {error, %{}, %{}}
      end
    end)
  end

  def open(_data, type),
    do: {:error, {:options, "type: #{inspect(type)} is neither bidirectional nor unidirectional"}}

  def readable(data), do: Enum.sort(for {id, s} <- data.streams, s.buf != "" or s.fin, do: id)

  def writable(data),
    do: Enum.sort(for {id, s} <- data.streams, s.writable and :queue.is_empty(s.queue), do: id)

  # Receiving.

  def arrived(data, id, bytes, fin) do
    data = %{data | held: data.held + byte_size(bytes)}

    data
    |> update(id, &%{&1 | buf: &1.buf <> bytes, fin: &1.fin or fin, armed: false})
    |> measure()
    |> update(id, &arm(&1, data))
  end

  def reset(data, id, code) do
    %{data | held: data.held - byte_size(data.streams[id].buf)}
    |> update(id, &%{&1 | error: {:reset, code}, buf: "", fin: false})
    |> measure()
  end

  # The core has forgotten it. What was not read yet still can be.
  def gone(data, id) do
    case data.streams do
      %{^id => %{buf: "", fin: false}} -> %{data | streams: Map.delete(data.streams, id)}
      %{^id => _} -> update(data, id, &%{&1 | gone: true})
      _ -> data
    end
  end

  def read(data, id, max) do
    case data.streams do
      %{^id => %{buf: "", fin: false, error: nil, gone: true}} ->
        {{:error, :unknown_stream}, data}

      %{^id => %{buf: "", fin: false, error: nil} = s} ->
        {{:error, :done}, put(data, id, arm(%{s | wanted: true}, data))}

      %{^id => %{error: error}} when error != nil ->
        {{:error, error}, data}

      %{^id => s} when is_integer(max) and max > 0 ->
        took(data, id, s, max)

      %{^id => _} ->
        {{:error, {:options, "max_bytes: #{inspect(max)} is not above 0"}}, data}

      _ ->
        {{:error, :unknown_stream}, data}
    end
  end

  defp took(data, id, s, max) do
    meta = %{conn_pid: self(), stream_id: id, max_bytes: max}
    began = Telemetry.start([:stream, :recv], meta)
    n = min(max, byte_size(s.buf))
    <<head::binary-size(n), rest::binary>> = s.buf
    fin = s.fin and rest == ""
    s = %{s | buf: rest, fin: s.fin and not fin, armed: s.armed or fin, wanted: true}
    data = measure(%{data | held: data.held - n})
    Telemetry.stop([:stream, :recv], began, Map.put(meta, :fin, fin), %{bytes_read: n})
    over = s.gone and rest == "" and not s.fin

    data =
      if over,
        do: %{data | streams: Map.delete(data.streams, id)},
        else: put(data, id, arm(s, data))

    {{:ok, {head, fin}}, data}
  end

  # The core is asked for more only while little waits here, to be read or from a handler to be sent: that is the
  # back-pressure. What a caller waits to send does not count: it may be the peer who waits for us to read.
  def arm(%{armed: false, fin: false, gone: false} = s, data) do
    waits = :queue.any(&(&1.from == nil), s.queue)

    if byte_size(s.buf) < @buffer and not waits and (s.wanted or not data.full) do
      _ = :weft.setopts(s.stream, active: :once)
      %{s | armed: true}
    else
      s
    end
  end

  def arm(s, _data), do: s

  # Too much, or no longer: streams that come are passive meanwhile. Those that came so are asked when there is room.
  defp measure(%{full: false, held: held} = data) when held > @held do
    _ = :weft.setopts(data.conn, stream_active: false)
    %{data | full: true, strict: true}
  end

  defp measure(%{full: true, held: held} = data) when held <= div(@held, 2) do
    _ = :weft.setopts(data.conn, stream_active: :once)
    data = %{data | full: false}
    %{data | streams: Map.new(data.streams, fn {id, s} -> {id, arm(s, data)} end)}
  end

  defp measure(data), do: data

  # The connection is over: takes from the core what had arrived before. Its messages are there when info has answered.
  def take_rest(data) do
    for {_, %{gone: false, error: nil} = s} <- data.streams do
      _ = :weft.setopts(s.stream, active: 32_767)
      _ = :weft.info(s.stream)
    end

    streams = Map.new(data.streams, fn {id, s} -> {id, rest_of(%{s | gone: true, writable: false})} end)
    fresh = for {id, s} <- streams, s.buf != data.streams[id].buf or s.fin != data.streams[id].fin, do: id
    streams = Map.filter(streams, fn {_, s} -> s.buf != "" or s.fin end)
    {Enum.sort(fresh), %{data | streams: streams, held: held(streams)}}
  end

  defp rest_of(%{stream: stream} = s) do
    receive do
      {:weft, ^stream, bytes} -> rest_of(%{s | buf: s.buf <> bytes})
      {:weft_fin, ^stream} -> rest_of(%{s | fin: true})
    after
      0 -> s
    end
  end

  defp held(streams), do: Enum.reduce(streams, 0, fn {_, s}, sum -> sum + byte_size(s.buf) end)

  # Sending. Each part knows when its telling of `start` was, and is told of once more when it is taken or given up.

  def write(data, id, bytes, fin, who) do
    case data.streams do
      %{^id => %{writable: false}} ->
        {{:error, :write_closed}, data}

      %{^id => s} ->
        size = IO.iodata_length(bytes)
        meta = %{conn_pid: self(), stream_id: id, fin: fin, data_size: size}
        began = Telemetry.start([:stream, :send], meta, %{data_size: size})
        from = if who == :nowait, do: nil, else: who
        part = %{from: from, bytes: bytes, fin: fin, size: size, began: began, meta: meta}
        write_part(data, id, s, part, who == :nowait)

      _ ->
        {{:error, :unknown_stream}, data}
    end
  end

  defp write_part(data, id, s, part, nowait) do
    case if(:queue.is_empty(s.queue), do: push(s.stream, part), else: {:error, :busy}) do
      {:error, :busy} when not nowait ->
        {:later, put(data, id, %{closes(s, part) | queue: :queue.in(part, s.queue)})}

      :ok ->
        {told(part, :ok), put(data, id, closes(s, part))}

      error ->
        {told(part, error), data}
    end
  end

  defp closes(s, %{fin: fin}), do: %{s | writable: not fin, ended: fin}

  defp push(stream, part, timeout \\ :nowait)
  defp push(stream, %{fin: true, bytes: bytes}, timeout), do: :weft.send_fin(stream, bytes, timeout)
  defp push(stream, %{bytes: bytes}, timeout), do: :weft.send(stream, bytes, timeout)

  defp told(%{began: nil, size: size}, :ok), do: {:ok, size}
  defp told(%{began: nil}, error), do: error

  defp told(part, :ok) do
    Telemetry.stop([:stream, :send], part.began, Map.put(part.meta, :partial, false), %{
      bytes_written: part.size
    })

    {:ok, part.size}
  end

  defp told(part, {:error, reason} = error) do
    Telemetry.exception([:stream, :send], part.began, :error, reason, [], Map.put(part.meta, :partial, false))
    error
  end

  defp answer(part, result) do
    result = told(part, result)
    if part.from, do: :gen_statem.reply(part.from, result)
    result
  end

  def flush(s) do
    case :queue.peek(s.queue) do
      :empty ->
        s

      {:value, part} ->
        case push(s.stream, part) do
          {:error, :busy} ->
            s

          result ->
            answer(part, result)
            flush(%{s | queue: :queue.drop(s.queue)})
        end
    end
  end

  # Those who wait to send learn that they wait in vain.
  def refuse(s, reason) do
    for part <- :queue.to_list(s.queue), do: answer(part, {:error, reason})
    %{s | writable: false, queue: :queue.new()}
  end

  def shut(data, id, direction, code) do
    case data.streams do
      %{^id => s} when direction in [:read, :write, :both] ->
        meta = %{conn_pid: self(), stream_id: id, direction: direction, error_code: code}

        Telemetry.span([:stream, :shutdown], meta, fn ->
          case end_direction(s, direction, code) do
            {:ok, s} -> {{:ok, put(data, id, s)}, %{}, %{}}
            {error, _} -> {error, %{}, %{}}
          end
        end)

      %{^id => _} ->
        {:error, {:options, "direction: #{inspect(direction)} is none of read, write, both"}}

      _ ->
        {:error, :unknown_stream}
    end
  end

  defp end_direction(s, :read, code), do: {:weft.stop_sending(s.stream, code), s}
  defp end_direction(s, :write, 0), do: finish(s)
  defp end_direction(s, :write, code), do: {:weft.reset(s.stream, code), refuse(s, :write_closed)}

  defp end_direction(s, :both, 0) do
    {result, s} = finish(s)
    {with(:ok <- result, do: :weft.stop_sending(s.stream, 0)), s}
  end

  defp end_direction(s, :both, code), do: {:weft.close(s.stream, code), refuse(s, :write_closed)}

  # After what waits. A part that no handler waits for: reading goes on.
  defp finish(%{writable: false} = s), do: {:ok, s}

  defp finish(s) do
    part = %{from: false, bytes: "", fin: true, size: 0, began: nil, meta: %{}}
    s = closes(s, part)

    case if(:queue.is_empty(s.queue), do: push(s.stream, part), else: {:error, :busy}) do
      {:error, :busy} -> {:ok, %{s | queue: :queue.in(part, s.queue)}}
      {:error, :stream_closed} -> {:ok, s}
      result -> {result, s}
    end
  end

  # What is being sent gets a limited time to arrive: what waits here, what waits in the core, and what was ended with
  # FIN until the peer has acknowledged it.
  def drain(data, limit) do
    until = now() + limit
    for {_, s} <- data.streams, not s.gone, do: drain_stream(s, until)
    %{data | streams: Map.new(data.streams, fn {id, s} -> {id, %{s | queue: :queue.new()}} end)}
  end

  defp drain_stream(s, until) do
    sent = for part <- :queue.to_list(s.queue), do: answer(part, push(s.stream, part, left(until)))

    cond do
      Enum.any?(sent, &match?({:error, _}, &1)) -> :ok
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

  # For sys:get_status, and for the report of a crash: no payload.
  def shown(data) do
    Map.new(data.streams, fn {id, s} ->
      {id,
       %{
         readable: byte_size(s.buf),
         fin: s.fin,
         error: s.error && Error.new(:stream, s.error),
         writable: s.writable,
         waiting: :queue.len(s.queue)
       }}
    end)
  end

  def update(data, id, fun), do: %{data | streams: Map.update!(data.streams, id, fun)}
end
