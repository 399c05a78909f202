defmodule Weft.AnswerAndGo do
  @behaviour Weft.Listener
  @impl true
  def handle_connection(conn, _peer) do
    # At once: the connection may not have been handed over yet.
    true = Weft.Connection.is_established?(conn)
    receive do: ({:quic_stream_readable, ^conn, id} -> Weft.send_data(conn, id, large(), fin: true))
  end

  def large, do: String.duplicate("weft", 75_000)
end

defmodule Weft.BehaviourTest do
  use Weft.Case
  import ExUnit.CaptureLog

  defp serve(opts \\ []) do
    scripted = [handler: Weft.Scripted, handler_opts: [test: self()]]
    {_, port} = listen(if opts[:active], do: opts, else: Keyword.merge(scripted, opts))
    port
  end

  defp ask(c, what) do
    id = Connection.open_stream!(c)
    {:ok, _} = Weft.send_data(c, id, what)
    id
  end

  test "actions: refuse, close, unknown" do
    port = serve()
    c = connect(port)
    id = ask(c, "refuse")
    assert_receive {:quic_stream_reset, ^c, ^id, 9}, 20_000
    until(fn -> match?({:error, %Error{}}, Weft.send_data(c, id, "more")) end)

    assert capture_log(fn -> assert collect(c, echoed(c, ask(c, "unknown"))) == "after" end) =~
             "unknown action"

    ask(c, "close")
    assert_receive {:quic_connection_error, ^c, %Error{code: 5, cause: :peer} = error}, 20_000
    assert Exception.message(error) =~ "enough"
    assert_receive {:quic_connection_closed, ^c, %Error{code: 5}}
    assert_receive {:terminated, :normal}, 20_000
  end

  # The stream did not end with the action: it still answers.
  defp echoed(c, id) do
    Process.sleep(50)
    {:ok, _} = Weft.send_data(c, id, "after", fin: true)
    id
  end

  test "a server's unidirectional stream, opened by an action" do
    c = connect(serve())
    ask(c, "uni")
    assert_receive {:quic_stream_opened, ^c, 3, :incoming, :unidirectional}, 20_000
    assert collect(c, 3) == "from the server"
    assert {:error, %Error{reason: r}} = Weft.send_data(c, 3, "no way back")
    assert r in [:write_closed, :unknown_stream]
    Weft.close_connection(c)
  end

  test "who waits to send is told that the peer wants no more" do
    port = serve(active: true)
    c = connect(port)
    id = Connection.open_stream!(c)
    {:ok, _} = Weft.send_data(c, id, "x")
    assert_receive {:quic_stream_opened, s, ^id, :incoming, _}, 20_000
    :ok = Weft.shutdown_stream(s, id, :read, 11)

    until(fn ->
      match?(
        {:error, %Error{reason: r}} when r in [:write_closed, {:stopped, 11}],
        Weft.send_data(c, id, "y")
      )
    end)

    Weft.close_connection(c)
  end

  test "a handler that raises ends its connection with an error, and no other" do
    port = serve()
    [c, other] = [connect(port), connect(port)]

    capture_log(fn ->
      ask(c, "crash")
      assert_receive {:quic_connection_closed, ^c, %Error{code: 1, cause: :peer}}, 20_000
      assert_receive {:terminated, %RuntimeError{message: "handler"}}, 20_000
    end)

    id = ask(other, "still")
    {:ok, _} = Weft.send_data(other, id, " here", fin: true)
    assert collect(other, id) == "still here"
    Weft.close_connection(other)
  end

  test "wait_connected: a time-out, and nobody there" do
    {:ok, socket} = :gen_udp.open(0, ip: {127, 0, 0, 1})
    {:ok, port} = :inet.port(socket)
    c = start(port)
    assert {:error, %Error{reason: :timeout}} = Weft.wait_connected(c, 50)
    refute Connection.is_established?(c)
    task = Task.async(fn -> Weft.wait_connected(c, :infinity) end)
    until(fn -> :sys.get_state(c) |> elem(1) |> Map.fetch!(:waiting) |> length() == 2 end)
    Weft.close_connection(c)
    assert {:error, %Error{reason: {:closed, _}, cause: :local}} = Task.await(task, 20_000)
    :gen_udp.close(socket)
  end

  test "migration, with the messages about paths" do
    c = connect(serve())
    {:ok, {before, _}} = Connection.active_path(c)
    until(fn -> Connection.migrate(c) == :ok end)
    assert_receive {:quic_path_created, ^c, {local, _} = path, local, _peer}, 20_000
    until(fn -> match?({:ok, {now, _}} when now != before, Connection.active_path(c)) end)
    assert {:ok, %{} = paths} = Connection.paths(c)
    assert is_map_key(paths, path)
    id = ask(c, "after")
    {:ok, _} = Weft.send_data(c, id, "wards", fin: true)
    assert collect(c, id) == "afterwards"
    Weft.close_connection(c)
  end

  test "datagrams: the oldest go when too many wait; a time-out loses none" do
    port = serve(active: true)
    c = connect(port, active: false)
    assert_receive {:quic_connection, _, s, _}, 20_000
    assert {:error, %Error{reason: :timeout}} = Connection.dgram_recv(c, 20)
    :ok = Connection.dgram_send(s, "first")
    assert {:ok, "first"} = Connection.dgram_recv(c, 20_000)
    for n <- 1..1100, do: send(c, {:weft_datagram, :of_the_core, <<n::32>>})
    assert {:ok, <<77::32>>} = Connection.dgram_recv(c)
    Weft.close_connection(c)
    assert {:error, %Error{reason: {:closed, _}}} = Connection.dgram_recv(c)
  end

  test "certificates from files, verified" do
    dir = Path.join(System.tmp_dir!(), "weft-cert-#{System.unique_integer([:positive])}")
    File.mkdir_p!(dir)
    on_exit(fn -> File.rm_rf!(dir) end)
    [cert, key] = for name <- ["cert.pem", "key.pem"], do: Path.join(dir, name)

    {_, 0} =
      ~w(req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost)
      |> Kernel.++(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", cert])
      |> then(&System.cmd("openssl", &1, stderr_to_stdout: true))

    files = config() |> Config.load_cert_chain_from_pem_file(cert) |> Config.load_priv_key_from_pem_file(key)
    port = serve(config: files)

    for trust <- [
          &Config.load_verify_locations_from_file(&1, cert),
          &Config.load_verify_locations_from_directory(&1, dir)
        ] do
      {:ok, c} = Weft.start_connection(host: "localhost", port: port, config: trust.(config()))
      assert :ok = Weft.wait_connected(c, 20_000)
      Weft.close_connection(c)
    end

    {:ok, c} = Weft.start_connection(host: "localhost", port: port, config: config())
    assert {:error, %Error{reason: {:closed, _}}} = Weft.wait_connected(c, 20_000)

    assert_raise Error, ~r/no certificates/, fn ->
      Config.load_verify_locations_from_directory(config(), "/proc/self")
    end
  end

  # A client of the Erlang API takes what comes at once: what has arrived when the connection closes is in its mailbox.
  defp taker(port) do
    {:ok, c} = :weft.connect("127.0.0.1", port, %{alpn: ["echo"], verify: :verify_none}, 20_000)
    {:ok, stream} = :weft.open_stream(c, %{active: true})
    :ok = :weft.send(stream, "x")
    stream
  end

  defp taken(stream, n \\ 0) do
    receive do
      {:weft, ^stream, data} -> taken(stream, n + byte_size(data))
      {:weft_fin, ^stream} -> n
    after
      20_000 -> flunk("no end after #{n} bytes")
    end
  end

  test "what is being sent arrives: the server's process returns, or is shut down, or closes" do
    size = byte_size(Weft.AnswerAndGo.large())
    port = serve(connection_handler: Weft.AnswerAndGo, handler: nil)
    assert taken(taker(port)) == size
    port = serve(active: true)

    for stop <- [&Process.exit(&1, :shutdown), &Weft.close_connection(&1, drain: 5000)] do
      stream = taker(port)
      assert_receive {:quic_stream_opened, s, id, :incoming, _}, 20_000
      {:ok, _} = Weft.send_data(s, id, Weft.AnswerAndGo.large(), fin: true)
      stop.(s)
      assert taken(stream) == size
    end
  end

  test "the wait for a peer that does not read has an end" do
    c = connect(serve(active: true), drain_timeout: 100)
    assert_receive {:quic_connected, _}, 20_000
    {:ok, id} = Weft.open_stream(c)
    # Held back by what the peer allows: more than its first window.
    assert_receive {:quic_connection, _, s, _}, 20_000
    :sys.suspend(s)
    Task.start(fn -> Weft.send_data(c, id, :binary.copy("x", 50_000_000), fin: true) end)
    ref = Process.monitor(c)
    Process.sleep(50)
    Process.exit(c, :shutdown)
    assert_receive {:DOWN, ^ref, :process, ^c, :shutdown}, 20_000
    :sys.resume(s)
  end

  test "no process is left waiting for a connection that could not be started" do
    port = serve(connection_handler: Weft.AnswerAndGo, handler_opts: [refuse: true])
    c = start(port)
    assert_receive {:quic_connection_closed, ^c, _}, 20_000
    until(fn -> Task.Supervisor.children(Weft.TaskSupervisor) == [] end)
  end
end
