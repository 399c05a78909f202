defmodule Weft.ServeOnce do
  @behaviour Weft.Listener
  @impl true
  def handle_connection(conn, {_ip, _port}) do
    receive do: ({:quic_stream_readable, ^conn, id} -> Weft.send_data(conn, id, "served", fin: true))
    receive do: ({:quic_connection_closed, ^conn, _} -> :ok)
  end
end

defmodule WeftTest do
  use Weft.Case
  doctest Weft
  doctest Weft.Config
  doctest Weft.Error
  doctest Weft.Telemetry

  test "echo, with every message in its order" do
    {l, port} = listen()
    c = connect(port)
    assert_receive {:quic_connected, ^c}
    assert {:ok, id} = Weft.open_stream(c)
    assert_receive {:quic_stream_opened, ^c, ^id, :outgoing, :bidirectional}
    assert {:ok, 5} = Weft.send_data(c, id, "hello", fin: true)
    assert collect(c, id) == "hello"
    assert_receive {:quic_stream_finished, ^c, ^id}
    assert :ok = Weft.close_connection(c, error_code: 0, reason: "bye")
    assert_receive {:quic_connection_closed, ^c, :normal}
    assert Connection.is_closed?(c)
    until(fn -> Listener.connection_count(l) == 0 end)
    Listener.stop(l)
  end

  test "100 KB and 5 concurrent streams; stream IDs" do
    {l, port} = listen()
    c = connect(port)
    ids = for _ <- 1..5, do: Connection.open_stream!(c)
    assert ids == [0, 4, 8, 12, 16]
    assert {:ok, 2} = Weft.open_stream(c, :unidirectional)
    data = :crypto.strong_rand_bytes(100_000)
    for id <- ids, do: assert({:ok, 100_000} = Weft.send_data(c, id, data, fin: true))
    for id <- ids, do: assert(collect(c, id) == data)
    Weft.close_connection(c)
    Listener.stop(l)
  end

  test "10 MB: senders wait, nothing is lost" do
    {l, port} = listen()
    c = connect(port)
    id = Connection.open_stream!(c)
    data = :crypto.strong_rand_bytes(1_000_000)
    task = Task.async(fn -> for n <- 1..10, do: {:ok, _} = Weft.send_data(c, id, data, fin: n == 10) end)
    assert collect(c, id) == String.duplicate(data, 10)
    Task.await(task, 20_000)
    Weft.close_connection(c)
    Listener.stop(l)
  end

  test "passive: readable, recv, shutdown of each direction" do
    {l, port} = listen()
    c = connect(port, active: false)
    id = Connection.open_stream!(c)
    assert {:error, %Error{reason: :done}} = Connection.stream_recv(c, id)
    assert {:ok, _} = Weft.send_data(c, id, "hello", fin: false)
    assert_receive {:quic_stream_readable, ^c, ^id}, 20_000
    assert Weft.readable_streams(c) == {:ok, [id]}
    assert Weft.writable_streams(c) == {:ok, [id]}
    assert {:ok, {"he", false}} = Connection.stream_recv(c, id, 2)
    assert {:ok, {"llo", false}} = Connection.stream_recv(c, id)
    assert :ok = Weft.shutdown_stream(c, id, :write)
    assert {:error, %Error{reason: :write_closed}} = Weft.send_data(c, id, "x")
    for how <- [:read, :both], do: assert(:ok = Weft.shutdown_stream(c, Connection.open_stream!(c), how, 7))
    assert {:error, %Error{reason: {:options, _}}} = Weft.shutdown_stream(c, id, :sideways)
    assert {:error, %Error{reason: :unknown_stream}} = Weft.send_data(c, 400, "x")
    assert_raise Error, fn -> Connection.stream_send!(c, 400, "x") end
    Weft.close_connection(c)
    Listener.stop(l)
  end

  test "datagrams, paths, counters" do
    {l, port} = listen()
    c = connect(port)
    assert :ok = Connection.dgram_send(c, "ping")
    assert_receive {:quic_dgram, ^c, "ping"}, 20_000
    assert {:ok, {_, {_, ^port}} = path} = Connection.active_path(c)
    assert {:ok, %{^path => :active}} = Connection.paths(c)
    for get <- [:stats, :path_stats, :info], do: assert({:ok, %{}} = apply(Connection, get, [c]))
    assert {:ok, [%{use: :in_use, packets_sent: n}]} = Connection.all_path_stats(c)
    assert n > 0
    assert Connection.is_established?(c)
    Weft.close_connection(c)
    p = connect(port, active: false)
    assert :ok = Connection.dgram_send(p, "pong")
    assert {:ok, "pong"} = Connection.dgram_recv(p, 20_000)
    Weft.close_connection(p)
    Listener.stop(l)
  end

  test "10 clients are counted, closed by the listener, and crash alone" do
    {l, port} = listen()
    clients = for _ <- 1..10, do: connect(port)
    until(fn -> Listener.connection_count(l) == 10 end)
    [first | rest] = clients
    Process.exit(first, :kill)
    until(fn -> Listener.connection_count(l) == 9 end)
    assert Enum.all?(rest, &Connection.is_established?/1)
    Listener.stop(l)
    for c <- rest, do: assert_receive({:quic_connection_closed, ^c, :normal}, 20_000)
  end

  test "a listener in active mode, and one with a process for each connection" do
    {l, port} = listen(active: true)
    c = connect(port)
    assert_receive {:quic_connection, ^l, s, {{127, 0, 0, 1}, _}}, 20_000
    assert_receive {:quic_connected, ^s}, 20_000
    id = Connection.open_stream!(c)
    {:ok, _} = Weft.send_data(c, id, "hi", fin: true)
    assert_receive {:quic_stream_opened, ^s, ^id, :incoming, :bidirectional}, 20_000
    assert collect(s, id) == "hi"
    Listener.stop(l)
    {l, port} = listen(connection_handler: Weft.ServeOnce)
    c = connect(port)
    id = Connection.open_stream!(c)
    {:ok, _} = Weft.send_data(c, id, "hi")
    assert collect(c, id) == "served"
    Listener.stop(l)
  end

  test "errors: options that are missing or unknown, ALPN, a connection that was closed" do
    Process.flag(:trap_exit, true)

    assert {:error, {:connection_error, %KeyError{key: :config}}} =
             Connection.start_link(host: "localhost", port: 1)

    assert {:error, {:listener_error, %KeyError{key: :handler}}} =
             Listener.start_link(port: 0, config: server())

    assert_raise Error, ~r/did you mean/, fn -> Config.set(config(), :max_idle_timeou, 1) end
    assert_raise Error, fn -> Config.load_cert_chain_from_pem_file(config(), "/nowhere.pem") end
    {l, port} = listen()
    other = Config.set_application_protos(client(), ["other"])
    {:ok, c} = Weft.start_connection(host: "127.0.0.1", port: port, config: other)
    assert_receive {:quic_connection_closed, ^c, %Error{code: 376, cause: :peer}}, 20_000
    Listener.stop(l)
  end

  test "every setter takes its table's default; secrets are not shown" do
    for {name, {type, default, _, _, choices, _}} <- :weft.options(),
        function_exported?(Config, :"set_#{name}", 2) do
      value =
        case type do
          :flag -> default == 1
          :time -> {default, :ns}
          :choice when is_list(choices) and choices != [] -> hd(choices)
          _ -> default
        end

      assert %Config{} = apply(Config, :"set_#{name}", [Config.new!(), value])
    end

    for algorithm <- [:cubic, :reno, :bbr, :bbr2, "cubic"],
        do: Config.set_cc_algorithm(Config.new!(), algorithm)

    key = String.duplicate("k", 32)
    refute inspect(Config.set_ticket_key(Config.new!(), key)) =~ "kkk"
  end

  test "when the controlling process dies the connection closes" do
    {l, port} = listen()
    pid = spawn(fn -> receive do: (:stop -> :ok) end)
    c = connect(port, controlling_process: pid)
    ref = Process.monitor(c)
    send(pid, :stop)
    assert_receive {:DOWN, ^ref, :process, ^c, :normal}, 20_000
    until(fn -> Listener.connection_count(l) == 0 end)
    Listener.stop(l)
  end

  test "a stream is enumerable and collectable" do
    {l, port} = listen()
    c = connect(port, active: false)
    stream = Weft.Stream.open!(c)
    assert inspect(stream) =~ "#Weft.Stream<0, client's, bidirectional, of #PID"
    data = for n <- 1..50, do: String.duplicate(<<n>>, 1000)
    assert data |> Enum.into(stream) |> Enum.join() == Enum.join(data)
    Weft.close_connection(c)
    Listener.stop(l)
  end
end
