defmodule Weft.QuichexTest do
  # What Quichex tests, and what it had planned, by the same names: whoever comes from there finds it again.
  use Weft.Case
  import ExUnit.CaptureLog

  defmodule Collector do
    use Weft.Handler
    # Tells the test of every callback.
    @impl true
    def init(conn, opts), do: tell(opts[:test], {:init, conn, Keyword.take(opts, [:active, :extra])})
    @impl true
    def handle_connected(_, to), do: tell(to, :connected)
    @impl true
    def handle_connection_closed(_, reason, to), do: tell(to, {:closed, reason})
    @impl true
    def handle_stream_opened(_, id, direction, type, to), do: tell(to, {:opened, id, direction, type})
    @impl true
    def handle_stream_readable(_, id, to) do
      tell(to, {:readable, id})
      {:ok, to, [{:read_stream, id, max_bytes: 4}]}
    end

    @impl true
    def handle_stream_data(_, id, data, fin, to), do: tell(to, {:data, id, data, fin})
    @impl true
    def handle_stream_finished(_, id, to), do: tell(to, {:finished, id})
    @impl true
    def handle_stream_reset(_, id, code, to), do: tell(to, {:reset, id, code})
    @impl true
    def handle_datagram(_, data, to), do: tell(to, {:datagram, data})
    @impl true
    def handle_session(_, session, to), do: tell(to, {:session, byte_size(session)})
    @impl true
    def handle_path(_, what, {local, peer}, to), do: tell(to, {:path, what, local, peer})
    @impl true
    def terminate(reason, to), do: tell(to, {:terminate, reason})

    defp tell(to, what) do
      send(to, {:told, what})
      {:ok, to}
    end
  end

  defmodule Wrong do
    use Weft.Handler
    @impl true
    def handle_connected(_conn, _state), do: :nonsense
  end

  # Listeners.

  test "listener: several streams of one client at a time, each with its own bytes" do
    {_, port} = listen()
    c = connect(port)
    sent = for n <- 1..20, id = Connection.open_stream!(c), do: {id, String.duplicate("#{n}.", 500)}
    for {id, text} <- sent, do: {:ok, _} = Weft.send_data(c, id, text, fin: true)
    for {id, text} <- sent, do: assert(collect(c, id) == text)
  end

  test "listener: 10 clients at a time, each answered" do
    {l, port} = listen()

    1..10
    |> Enum.map(fn n ->
      Task.async(fn ->
        c = connect(port)
        id = Connection.open_stream!(c)
        {:ok, _} = Weft.send_data(c, id, "client #{n}", fin: true)
        assert collect(c, id) == "client #{n}"
        c
      end)
    end)
    |> Enum.each(&Task.await(&1, 30_000))

    # Their controlling processes are gone, and so are they.
    until(fn -> Listener.connection_count(l) == 0 end)
  end

  test "listener: stop with connections that are busy; stopped, it is gone, and its port free" do
    {l, port} = listen()
    clients = for _ <- 1..3, do: connect(port)
    for c <- clients, do: {:ok, _} = Weft.send_data(c, Connection.open_stream!(c), "x")
    assert :ok = Listener.stop(l)
    refute Process.alive?(l)
    for c <- clients, do: assert_receive({:quic_connection_closed, ^c, :normal}, 20_000)
    {again, ^port} = listen(port: port, handler: Weft.EchoHandler)
    c = connect(port)
    Weft.close_connection(c)
    Listener.stop(again)
  end

  test "listener: a client that closes is counted no more" do
    {l, port} = listen()
    c = connect(port)
    until(fn -> Listener.connection_count(l) == 1 end)
    assert :ok = Weft.close_connection(c, error_code: 3, reason: "enough")
    assert_receive {:quic_connection_closed, ^c, _}
    until(fn -> Listener.connection_count(l) == 0 end)
  end

  test "listener: new certificates by reload; an option that is unknown, a port in use" do
    {l, port} = listen()
    {:ok, before} = Connection.peer_cert(connect(port))
    assert :ok = Listener.reload(l, Config.set(config(), :self_signed, "other.test"))
    assert {:ok, other} = Connection.peer_cert(connect(port))
    assert other != before
    Process.flag(:trap_exit, true)

    assert {:error, {:listener_error, %ArgumentError{message: text}}} =
             Listener.start_link(port: 0, config: server(), handlr: Weft.EchoHandler)

    assert text =~ ":handlr" and text =~ ":handler"

    assert {:error, %Error{operation: :listen}} =
             Listener.start_link(port: port, ip: :loopback, config: server(), active: true)

    assert_raise Error, fn ->
      Listener.start_link!(port: port, ip: :loopback, config: server(), active: true)
    end
  end

  test "listener: one port, all engines" do
    before = :weft.live().listeners
    {l, port} = listen(handler: Weft.EchoHandler, engines: :all)
    assert :weft.live().listeners - before == length(:weft_engines.all())

    for n <- 1..8 do
      c = connect(port)
      id = Connection.open_stream!(c)
      {:ok, _} = Weft.send_data(c, id, "#{n}", fin: true)
      assert collect(c, id) == "#{n}"
    end

    assert :ok = Listener.reload(l, server())
    assert Listener.connection_count(l) == 8
    assert :ok = Listener.stop(l)
    Process.flag(:trap_exit, true)

    assert {:error, {:listener_error, %ArgumentError{}}} =
             Listener.start_link(port: 0, config: server(), active: true, engines: 3)
  end

  # Streams.

  test "stream IDs: 0, 4, 8 and 2, 6, 10; a server's 1, 5 and 3, 7" do
    {_, port} = listen(active: true)
    c = connect(port)
    assert_receive {:quic_connection, _, s, _}, 20_000
    assert [0, 4, 8] = for(_ <- 1..3, do: Connection.open_stream!(c))
    assert [2, 6, 10] = for(_ <- 1..3, do: Connection.open_stream!(c, :unidirectional))
    assert [1, 5] = for(_ <- 1..2, do: Connection.open_stream!(s))
    assert [3, 7] = for(_ <- 1..2, do: Connection.open_stream!(s, :unidirectional))
  end

  test "stream_shutdown: read, write, both, as the other side sees it" do
    {_, port} = listen(active: true)
    c = connect(port)
    assert_receive {:quic_connection, _, s, _}, 20_000
    [read, write, broken, both] = for _ <- 1..4, do: Connection.open_stream!(c)
    for id <- [read, write, broken, both], do: {:ok, 1} = Weft.send_data(c, id, "x")
    for id <- [read, write, broken, both], do: assert_receive({:quic_stream_opened, ^s, ^id, _, _}, 20_000)
    assert :ok = Weft.shutdown_stream(c, read, :read, 7)
    until(fn -> match?({:error, %Error{}}, Weft.send_data(s, read, "y")) end)
    assert {:ok, 1} = Weft.send_data(c, read, "z")
    assert :ok = Weft.shutdown_stream(c, write, :write)
    assert collect(s, write) == "x"
    assert {:ok, 3} = Weft.send_data(s, write, "yes", fin: true)
    assert collect(c, write) == "yes"
    assert :ok = Weft.shutdown_stream(c, broken, :write, 8)
    assert_receive {:quic_stream_reset, ^s, ^broken, 8}, 20_000
    assert :ok = Weft.shutdown_stream(c, both, :both, error_code: 9)
    assert_receive {:quic_stream_reset, ^s, ^both, 9}, 20_000
    # Ended once, it may be ended again.
    assert :ok = Weft.shutdown_stream(c, write, :write) |> ok_or_gone()
  end

  defp ok_or_gone({:error, %Error{reason: :unknown_stream}}), do: :ok
  defp ok_or_gone(result), do: result

  test "FIN comes after what still waits to be sent" do
    {_, port} = listen(active: true)
    c = connect(port)
    assert_receive {:quic_connection, _, s, _}, 20_000
    id = Connection.open_stream!(c)
    :sys.suspend(s)
    # More than windows and buffers take; the rest waits in the process, with a caller.
    data = :binary.copy("0123456789", 400_000)
    tasks = for _ <- 1..3, do: Task.async(fn -> Weft.send_data(c, id, data) end)
    until(fn -> :queue.len(state(c).streams[id].queue) > 0 end)
    assert :ok = Weft.shutdown_stream(c, id, :write)
    assert {:error, %Error{reason: :write_closed}} = Weft.send_data(c, id, "late")
    :sys.resume(s)
    assert byte_size(collect(s, id)) == 3 * byte_size(data)
    for task <- tasks, do: assert({:ok, _} = Task.await(task, 20_000))
  end

  test "a wait to send that is timed out, nowait, and room again" do
    {_, port} = listen(active: true)
    c = connect(port)
    assert_receive {:quic_connection, _, s, _}, 20_000
    id = Connection.open_stream!(c)
    :sys.suspend(s)
    data = :binary.copy("x", 1_000_000)
    # Until it is full: windows grow, and the last one waits in vain. It was given, and stays.
    filled =
      Enum.find(
        1..200,
        &match?({:error, %Error{reason: :timeout}}, Weft.send_data(c, id, data, timeout: &1 * 10))
      )

    assert {:error, %Error{reason: :busy}} = Weft.send_data(c, id, data, nowait: true)
    assert {:ok, []} = Weft.writable_streams(c)
    :sys.resume(s)
    assert_receive {:quic_stream_writable, ^c, ^id}, 20_000
    until(fn -> Weft.writable_streams(c) == {:ok, [id]} end)
    assert {:ok, 0} = Weft.send_data(c, id, "", fin: true)
    assert byte_size(collect(s, id)) == filled * 1_000_000
  end

  # Connections.

  test "options: each that is needed, unknown ones, values" do
    all = [host: "localhost", port: 1, config: client()]

    for {name, _} <- all do
      assert {:error, {:connection_error, %KeyError{key: ^name}}} =
               Weft.start_connection(Keyword.delete(all, name))
    end

    assert {:error, {:connection_error, %ArgumentError{message: text}}} =
             Weft.start_connection(all ++ [actve: true])

    assert text =~ ":actve"
    assert {:error, {:connection_error, _}} = Weft.start_connection(all ++ [local_port: 5])
    assert {:error, {:connection_error, _}} = Weft.start_connection(all ++ [stream_recv_buffer_size: 0])
    assert_raise Error, ~r/port/, fn -> Weft.start_connection!(Keyword.delete(all, :port)) end
  end

  test "localhost is resolved; a name that is none is not" do
    {_, port} = listen()
    c = connect(port, host: "localhost")
    assert {:ok, {_, {_, ^port}}} = Connection.active_path(c)

    assert {:error, %Error{cause: :connect}} =
             Weft.connect(host: "no.such.name.invalid", port: 1, config: client())
  end

  test "ALPN: no protocol in common is error 376 of the peer's" do
    {_, port} = listen()
    other = Config.set_application_protos(client(), ["other"])

    assert {:error, %Error{code: 376, cause: :peer} = error} =
             Weft.connect([host: "127.0.0.1", port: port, config: other], 20_000)

    assert_raise Error, Exception.message(%{error | operation: :wait_connected}), fn ->
      Weft.connect!([host: "127.0.0.1", port: port, config: other], 20_000)
    end
  end

  test "accessors: info, parameters of the peer, certificate, counters; after the end the last of them" do
    {_, port} = listen()
    c = connect(port, host: "localhost")
    assert {:ok, info} = Connection.info(c)
    assert %{role: :client, state: :open, alpn: "echo", version: 1, resumed: false, early_data: :none} = info

    assert info.server_name == "localhost" and info.cipher =~ "TLS_" and
             info.peer_initial_max_streams_bidi == 128

    assert {:ok, <<0x30, _::binary>>} = Connection.peer_cert(c)
    assert {:ok, %{rtt: _, congestion_window: _, mtu: mtu}} = Connection.path_stats(c)
    assert mtu >= 1200
    assert Connection.is_established?(c) and not Connection.is_closed?(c) and not Connection.is_draining?(c)
    Weft.close_connection(c)
    assert {:ok, %{packets_sent: n}} = Connection.stats(c)
    assert n > 0
    assert {:error, %Error{reason: {:closed, %{cause: :local}}}} = Connection.info(c)
  end

  test "is_draining? is the core's answer: three probe time-outs, with the peer's delay of acknowledgements in each" do
    {_, port} = listen(active: true, config: Config.set_max_ack_delay(server(), 16_000))
    c = connect(port)
    assert_receive {:quic_connection, _, s, _}, 20_000
    Weft.close_connection(s)
    assert_receive {:quic_connection_closed, ^c, :normal}, 20_000
    assert Connection.is_closed?(c) and Connection.is_draining?(c) and not Connection.is_established?(c)
    # The server's side waits for a client that acknowledges soon.
    until(fn -> not Connection.is_draining?(s) end)
    until(fn -> not Process.alive?(s) end)
    assert Process.alive?(c) and Connection.is_draining?(c)
    assert Connection.is_closed?(s)
  end

  test "calls after the end" do
    {_, port} = listen()
    c = connect(port)
    id = Connection.open_stream!(c)
    assert :ok = Weft.close_connection(c, error_code: 7, reason: "over")
    assert :ok = Weft.close_connection(c)

    for call <- [
          fn -> Weft.send_data(c, id, "x") end,
          fn -> Weft.open_stream(c) end,
          fn -> Weft.shutdown_stream(c, id, :both) end,
          fn -> Connection.stream_recv(c, id) end,
          fn -> Connection.dgram_send(c, "x") end,
          fn -> Connection.migrate(c) end,
          fn -> Connection.paths(c) end,
          fn -> Weft.writable_streams(c) end,
          fn -> Weft.wait_connected(c) end
        ],
        do: assert({:error, %Error{code: 7, cause: :local, reason: {:closed, %{reason: "over"}}}} = call.())

    Process.exit(c, :kill)
    until(fn -> not Process.alive?(c) end)
    assert {:error, %Error{reason: :closed}} = Weft.open_stream(c)
    assert Connection.is_closed?(c) and not Connection.is_draining?(c)
  end

  test "bang variants give the value, or raise" do
    {_, port} = listen()
    c = Weft.connect!(host: "localhost", port: port, config: client())
    assert :ok = Weft.wait_connected!(c)
    id = Weft.open_stream!(c)
    assert 5 = Weft.send_data!(c, id, "hello", fin: true)
    assert collect(c, id) == "hello"
    assert [] = Weft.readable_streams!(c)
    Weft.close_connection(c)

    for fun <- [:open_stream!, :wait_connected!, :writable_streams!],
        do: assert_raise(Error, fn -> apply(Weft, fun, [c]) end)

    for fun <- [
          :paths!,
          :active_path!,
          :info!,
          :path_stats!,
          :peer_cert!,
          :session!,
          :update_keys!,
          :migrate!,
          :dgram_recv!,
          :dgram_max_len!
        ],
        do: assert_raise(Error, ~r/closed/, fn -> apply(Connection, fun, [c]) end)

    for fun <- [:stream_recv!, :dgram_send!],
        do: assert_raise(Error, fn -> apply(Connection, fun, [c, 0]) end)

    assert_raise Error, fn -> Connection.stream_shutdown!(c, id, :read) end
  end

  # Sessions, keys, limits.

  test "a session is kept, and resumed; 0-RTT" do
    {_, port} = listen(handler: Weft.EchoHandler, config: Config.enable_early_data(server()))
    c = connect(port)
    assert_receive {:quic_session, ^c, session}, 20_000
    assert {:ok, <<_, _::binary>>} = Connection.session(c)
    again = start(port, session: session, config: Config.enable_early_data(client()))
    # Before the handshake.
    assert {:ok, id} = Weft.open_stream(again)
    assert {:ok, 5} = Weft.send_data(again, id, "early", fin: true)
    assert collect(again, id) == "early"
    assert {:ok, %{resumed: true, early_data: :accepted}} = Connection.info(again)
  end

  test "keys are logged, and updated" do
    file = Path.join(System.tmp_dir!(), "weft-keys-#{System.unique_integer([:positive])}")
    on_exit(fn -> File.rm(file) end)
    {_, port} = listen()
    c = connect(port, config: Config.log_keys(client(), file))
    until(fn -> Connection.update_keys(c) == :ok end)
    id = Connection.open_stream!(c)
    {:ok, _} = Weft.send_data(c, id, "new keys", fin: true)
    assert collect(c, id) == "new keys"
    text = File.read!(file)
    for label <- ~w(CLIENT_HANDSHAKE_TRAFFIC_SECRET SERVER_TRAFFIC_SECRET_0), do: assert(text =~ label)
  end

  test "datagrams: as long as allowed, and longer; a peer that takes none; what waits" do
    {_, port} = listen()
    c = connect(port, active: false)
    {:ok, most} = Connection.dgram_max_len(c)
    data = :crypto.strong_rand_bytes(most)
    assert :ok = Connection.dgram_send(c, data)
    assert {:ok, ^data} = Connection.dgram_recv(c, 20_000)
    assert {:error, %Error{reason: :too_large}} = Connection.dgram_send(c, [data, :binary.copy("x", 2000)])
    assert :ok = Connection.dgram_send(c, "")
    assert {:ok, ""} = Connection.dgram_recv(c, 20_000)
    # One who has died in waiting takes none away.
    waiting = spawn(fn -> Connection.dgram_recv(c, :infinity) end)
    until(fn -> :queue.len(state(c).dgram_waiting) == 1 end)
    Process.exit(waiting, :kill)
    assert :ok = Connection.dgram_send(c, "mine")
    assert {:ok, "mine"} = Connection.dgram_recv(c, 20_000)
    {_, port} = listen(handler: Weft.EchoHandler, config: Config.enable_dgram(server(), false))
    assert {:error, %Error{}} = Connection.dgram_send(connect(port), "x")
  end

  test "limits of streams" do
    {_, port} = listen(handler: Weft.EchoHandler, config: Config.set_initial_max_streams_bidi(server(), 2))
    c = connect(port)
    for id <- [0, 4], do: assert({:ok, ^id} = Weft.open_stream(c))
    assert {:error, %Error{reason: :stream_limit} = error} = Weft.open_stream(c)
    assert Exception.message(error) =~ "open_stream: "
    assert {:error, %Error{reason: {:options, text}}} = Weft.open_stream(c, :sideways)
    assert text =~ "sideways"
  end

  # Handlers.

  test "every callback, in its order, with its arguments" do
    {_, port} = listen(handler: Collector, handler_opts: [test: self(), extra: 1])
    c = connect(port)
    assert_receive {:told, {:init, s, options}}, 20_000
    assert options[:active] and options[:extra] == 1
    assert_receive {:told, :connected}, 20_000
    id = Connection.open_stream!(c)
    {:ok, _} = Weft.send_data(c, id, "12345678")
    assert_receive {:told, {:opened, ^id, :incoming, :bidirectional}}, 20_000
    # One piece of at most four bytes for each time that something has come.
    assert_receive {:told, {:readable, ^id}}, 20_000
    assert_receive {:told, {:data, ^id, "1234", false}}, 20_000
    {:ok, 0} = Weft.send_data(c, id, "", fin: true)
    assert_receive {:told, {:data, ^id, "5678", true}}, 20_000
    assert_receive {:told, {:finished, ^id}}
    broken = Connection.open_stream!(c)
    {:ok, _} = Weft.send_data(c, broken, "x")
    assert_receive {:told, {:data, ^broken, "x", false}}, 20_000
    :ok = Weft.shutdown_stream(c, broken, :write, 5)
    assert_receive {:told, {:reset, ^broken, 5}}, 20_000
    :ok = Connection.dgram_send(c, "ping")
    assert_receive {:told, {:datagram, "ping"}}, 20_000
    {:ok, out} = Weft.open_stream(s)
    assert_receive {:told, {:opened, ^out, :outgoing, :bidirectional}}
    until(fn -> Connection.migrate(c) == :ok end)
    assert_receive {:told, {:path, _, {_, ^port}, {_, _}}}, 20_000
    Weft.close_connection(c, error_code: 4)
    assert_receive {:told, {:closed, %Error{code: 4, cause: :peer}}}, 20_000
    assert_receive {:told, {:terminate, :normal}}, 20_000
  end

  test "a client's handler is told of sessions; init may refuse; results that are none" do
    {_, port} = listen()
    start(port, handler: Collector, handler_opts: [test: self()])
    assert_receive {:told, {:session, n}} when n > 0, 20_000

    assert {:error, :refused} =
             Weft.start_connection(
               host: "127.0.0.1",
               port: port,
               config: client(),
               handler: Weft.Scripted,
               handler_opts: [refuse: true]
             )

    log =
      capture_log(fn ->
        ref = Process.monitor(start(port, handler: Wrong))
        assert_receive {:DOWN, ^ref, :process, _, {%ArgumentError{message: text}, _}}, 20_000
        assert text =~ "Wrong.handle_connected/2 gave :nonsense"
      end)

    assert log =~ "nonsense"
  end

  # What had arrived is not lost, what is not read is bounded.

  test "what had arrived before the peer closed is read after it, then comes the end" do
    {_, port} = listen(active: true)
    size = 300_000
    data = :crypto.strong_rand_bytes(size)

    for fin <- [true, false] do
      c = connect(port, active: false, drain_timeout: 60_000)
      assert_receive {:quic_connection, _, s, _}, 20_000
      {:ok, id} = Weft.open_stream(c)
      {:ok, 1} = Weft.send_data(c, id, "?")
      assert_receive {:quic_stream_opened, ^s, ^id, _, _}, 20_000
      {:ok, _} = Weft.send_data(s, id, data, fin: fin)
      # All there, most of it in the core: nobody has read.
      stream = state(c).streams[id].stream
      until(fn -> match?({:ok, %{received: ^size}}, :weft.info(stream)) end)
      Weft.close_connection(s, error_code: 2)
      assert_receive {:quic_connection_closed, ^c, %Error{code: 2}}, 20_000
      assert Connection.is_closed?(c)
      # The core has forgotten it by and by; the process stays as long as there is something to read.
      until(fn -> not Connection.is_draining?(c) end)
      assert Process.alive?(c) and Connection.is_closed?(c)
      assert {:ok, [^id]} = Weft.readable_streams(c)
      assert read(c, id) == data
      assert {:error, %Error{code: 2, cause: :peer}} = Connection.stream_recv(c, id)
    end
  end

  defp read(c, id, acc \\ "") do
    case Connection.stream_recv(c, id, 50_000) do
      {:ok, {data, true}} -> acc <> data
      {:ok, {data, false}} -> read(c, id, acc <> data)
      {:error, %Error{reason: {:closed, _}}} -> acc
    end
  end

  test "the messages of what had arrived come before that of the end" do
    {_, port} = listen(active: true)
    c = connect(port)
    assert_receive {:quic_connection, _, s, _}, 20_000
    {:ok, id} = Weft.open_stream(c)
    {:ok, 1} = Weft.send_data(c, id, "?")
    assert_receive {:quic_stream_opened, ^s, ^id, _, _}, 20_000
    stream = state(c).streams[id].stream
    :sys.suspend(c)
    {:ok, _} = Weft.send_data(s, id, :binary.copy("y", 300_000), fin: true)
    until(fn -> match?({:ok, %{received: 300_000}}, :weft.info(stream)) end)
    Weft.close_connection(s)
    until(fn -> match?({:error, _}, :weft.info(state(c).conn)) end)
    :sys.resume(c)
    assert byte_size(collect(c, id)) == 300_000
    assert_receive {:quic_connection_closed, ^c, :normal}, 20_000
    refute_received {:quic_stream_data, ^c, _, _, _}
  end

  test "a stream as a collection ends with what had arrived; a reset raises" do
    {_, port} = listen(active: true)
    c = connect(port, active: false)
    assert_receive {:quic_connection, _, s, _}, 20_000
    stream = Enum.into(["?"], Weft.Stream.open!(c))
    {:ok, 200_000} = Weft.send_data(s, stream.id, :binary.copy("z", 200_000), fin: true) |> sent(s, stream.id)
    {:ok, %{conn: _}} = :weft.info(state(c).streams[stream.id].stream)
    until(fn -> match?({:ok, %{received: 200_000}}, :weft.info(state(c).streams[stream.id].stream)) end)
    Weft.close_connection(s)
    until(fn -> Connection.is_closed?(c) end)
    assert stream |> Enum.map(&byte_size/1) |> Enum.sum() == 200_000
    assert_raise Error, ~r/closed/, fn -> Enum.to_list(stream) end
    until(fn -> not Process.alive?(c) end)
    assert inspect(stream) =~ "closed"
    c = connect(port, active: false)
    assert_receive {:quic_connection, _, s, _}, 20_000
    stream = Enum.into(["?"], Weft.Stream.open!(c))
    id = stream.id
    assert_receive {:quic_stream_opened, ^s, ^id, _, _}, 20_000
    :ok = Weft.shutdown_stream(s, id, :write, 6)
    assert_raise Error, ~r/reset/, fn -> Enum.to_list(stream) end
  end

  # The stream may not be there yet when it is answered.
  defp sent({:error, %Error{reason: :unknown_stream}}, s, id) do
    assert_receive {:quic_stream_opened, ^s, ^id, _, _}, 20_000
    Weft.send_data(s, id, :binary.copy("z", 200_000), fin: true)
  end

  defp sent(result, _, _), do: result

  test "a reader that sleeps holds about a megabyte, however many streams come; awake, it gets all" do
    {_, port} = listen(active: true, connection_handler: nil)
    s = connect(port, active: false)
    assert_receive {:quic_connection, _, c, _}, 20_000
    piece = :binary.copy("p", 60_000)
    # The listener's side opens streams of 60 kB as fast as it may.
    sender = Task.async(fn -> for _ <- 1..400, do: open_and_send(c, piece) end)
    until(fn -> state(s).full end)
    Process.sleep(200)
    # What was on its way when it became too much: as many streams as the peer may open.
    assert state(s).held <= 2_000_000 + 128 * 65_536
    count = map_size(state(s).streams)
    assert count <= 400
    reader = self()
    assert read_all(s, reader, 400 * 60_000) == 400 * 60_000
    Task.await(sender, 60_000)
    until(fn -> state(s).held == 0 and not state(s).full end)
  end

  defp open_and_send(c, piece) do
    case Weft.open_stream(c, :unidirectional) do
      {:ok, id} -> {:ok, _} = Weft.send_data(c, id, piece, fin: true)
      {:error, %Error{reason: :stream_limit}} -> Process.sleep(5) && open_and_send(c, piece)
    end
  end

  defp read_all(_, _, 0), do: 400 * 60_000

  defp read_all(s, reader, left) do
    {:ok, ids} = Weft.readable_streams(s)
    if ids == [], do: Process.sleep(5)

    read =
      for id <- ids, reduce: 0 do
        sum ->
          case Connection.stream_recv(s, id) do
            {:ok, {data, _}} -> sum + byte_size(data)
            {:error, %Error{reason: :done}} -> sum
          end
      end

    read_all(s, reader, left - read)
  end

  # Supervision.

  test "connections are temporary, partitioned, without a limit, and alone in their crashes" do
    assert %{restart: :temporary} = Connection.child_spec([])
    assert PartitionSupervisor.partitions(Weft.ConnectionSupervisor) == System.schedulers_online()
    {l, port} = listen()
    connections = for _ <- 1..20, do: connect(port)
    until(fn -> Listener.connection_count(l) == 20 end)
    {killed, left} = Enum.split(connections, 8)
    supervisors = Supervisor.which_children(Weft.Supervisor)
    for c <- killed, do: Process.exit(c, :kill)
    until(fn -> Listener.connection_count(l) == 12 end)
    assert Supervisor.which_children(Weft.Supervisor) == supervisors

    for c <- left do
      id = Connection.open_stream!(c)
      {:ok, _} = Weft.send_data(c, id, "alive", fin: true)
      assert collect(c, id) == "alive"
    end

    for c <- connections, do: Weft.close_connection(c)
    until(fn -> Listener.connection_count(l) == 0 end)
    none = fn -> Enum.all?(PartitionSupervisor.which_children(Weft.ConnectionSupervisor), &empty?/1) end
    until(none)
  end

  defp empty?({_, supervisor, _, _}), do: DynamicSupervisor.count_children(supervisor).active == 0

  test "under a supervisor of one's own; its end is the peer's to know" do
    {_, port} = listen(active: true)
    opts = [host: "127.0.0.1", port: port, config: client(), controlling_process: self()]
    {:ok, supervisor} = Supervisor.start_link([{Connection, opts}], strategy: :one_for_one)
    assert_receive {:quic_connection, _, s, _}, 20_000
    :ok = Supervisor.stop(supervisor)
    assert_receive {:quic_connection_closed, ^s, :normal}, 20_000

    {:ok, supervisor} =
      Supervisor.start_link([{Listener, port: 0, config: server(), ip: :loopback, active: true}],
        strategy: :one_for_one
      )

    :ok = Supervisor.stop(supervisor)
  end

  test "a linked process of a handler that ends in order is nobody's end" do
    {_, port} = listen()
    c = connect(port)
    send(c, {:EXIT, self(), :normal})
    send(c, :anything)
    assert Connection.is_established?(c)
  end

  test "what sys and the reports of crashes show has states, and nobody's bytes" do
    {_, port} = listen(active: true)
    c = connect(port, active: false)
    assert_receive {:quic_connection, _, s, _}, 20_000
    {:ok, id} = Weft.open_stream(c)
    {:ok, _} = Weft.send_data(c, id, "?")
    assert_receive {:quic_stream_opened, ^s, ^id, _, _}, 20_000
    {:ok, _} = Weft.send_data(s, id, "a secret of theirs")
    assert_receive {:quic_stream_readable, ^c, ^id}, 20_000
    shown = inspect(:sys.get_status(c), limit: :infinity, printable_limit: :infinity)
    assert shown =~ "readable: 18" and shown =~ "{:connected, %{"
    refute shown =~ "a secret"

    assert inspect(client()) =~ "#Weft.Config<" and
             inspect(Weft.Stream.stream!(c, 3)) =~ "3, server's, unidirectional"
  end
end
