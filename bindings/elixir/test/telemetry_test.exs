defmodule Weft.TelemetryTest do
  use Weft.Case

  # Stands for the library, which is no dependency: tells the test what it was given.
  setup do
    Code.compile_string("""
    defmodule :telemetry do
      def execute(event, measurements, metadata) do
        if pid = Process.whereis(:telemetry_test), do: send(pid, {event, measurements, metadata})
        :ok
      end
    end
    """)

    Process.register(self(), :telemetry_test)
    Weft.Telemetry.init()

    on_exit(fn ->
      :code.purge(:telemetry)
      :code.delete(:telemetry)
      Weft.Telemetry.init()
    end)
  end

  test "the tree of events, their measurements and metadata" do
    config = Config.new!() |> Config.set_application_protos(["echo"])
    server = Config.set(config, :self_signed, "localhost")
    {:ok, l} = Listener.start_link(port: 0, ip: :loopback, config: server, active: true)

    assert_receive {[:weft, :listener, :start, :start], %{system_time: _, monotonic_time: _},
                    %{port: 0, listener_pid: ^l}}

    assert_receive {[:weft, :listener, :start, :stop], %{duration: _}, %{listener_pid: ^l}}
    {:ok, {_, port}} = Listener.local_address(l)
    {:ok, c} = Weft.start_connection(host: "127.0.0.1", port: port, config: Config.verify_peer(config, false))
    :ok = Weft.wait_connected(c, 20_000)

    for name <- [:connect, :handshake], phase <- [:start, :stop] do
      assert_receive {[:weft, :connection, ^name, ^phase], %{monotonic_time: _}, %{port: ^port, conn_pid: ^c}}
    end

    id = Connection.open_stream!(c)
    assert_receive {[:weft, :stream, :open, :stop], %{duration: _}, %{stream_id: ^id, type: :bidirectional}}
    {:ok, 5} = Weft.send_data(c, id, "hello", fin: true)

    assert_receive {[:weft, :stream, :send, :stop], %{bytes_written: 5},
                    %{fin: true, partial: false, data_size: 5}}

    assert_receive {[:weft, :listener, :accept, :stop], %{duration: _}, %{conn_pid: s, peer_addr: {_, _}}},
                   20_000

    assert_receive {[:weft, :stream, :recv, :stop], %{bytes_read: 5}, %{conn_pid: ^s, stream_id: ^id}}, 20_000
    :ok = Weft.shutdown_stream(c, id, :read, 7)
    assert_receive {[:weft, :stream, :shutdown, :stop], %{duration: _}, %{direction: :read, error_code: 7}}
    Weft.close_connection(c)
    assert_receive {[:weft, :connection, :close, :stop], %{duration: _}, %{conn_pid: ^c}}

    assert_receive {[:weft, :listener, :connection_terminated, :stop], _,
                    %{conn_pid: ^s, active_connections: 0}},
                   20_000

    Listener.stop(l)
  end

  test "connection: connect and handshake that fail, with kind, reason and duration" do
    {_, port} = listen()
    other = Config.set_application_protos(client(), ["other"])
    c = start(port, config: other, mode: :http)

    for name <- [:connect, :handshake] do
      assert_receive {[:weft, :connection, ^name, :start], %{system_time: _}, %{conn_pid: ^c, mode: :http}},
                     20_000

      assert_receive {[:weft, :connection, ^name, :exception], %{duration: d, monotonic_time: _},
                      %{conn_pid: ^c, kind: :error, reason: %{code: 376}, stacktrace: [], host: "127.0.0.1"}},
                     20_000

      assert d >= 0
    end

    assert {:error, %Error{}} =
             Weft.start_connection(
               host: "127.0.0.1",
               port: port,
               config: Config.set(client(), :engine, 0) |> broken()
             )

    assert_receive {[:weft, :connection, :connect, :exception], _, %{kind: :error}}, 20_000
  end

  # Only the core can know that these do not go together.
  defp broken(config), do: Config.set(config, :ciphers, "NO_SUCH_CIPHER")

  test "connection: close, with what was sent and received" do
    {_, port} = listen()
    c = connect(port)
    Weft.close_connection(c, error_code: 3, reason: "bye")
    assert_receive {[:weft, :connection, :close, :start], %{monotonic_time: _}, %{conn_pid: ^c}}, 20_000

    assert_receive {[:weft, :connection, :close, :stop], measured, %{conn_pid: ^c, reason: %{code: 3}}},
                   20_000

    assert %{duration: _, bytes_sent: sent, bytes_received: got, packets_sent: _, packets_received: _} =
             measured

    assert sent > 1000 and got > 1000
  end

  test "stream: what is refused is an exception, what has to wait is told of once, at its end" do
    {_, port} = listen(active: true, handler: nil)
    c = connect(port)
    assert_receive {:quic_connection, _, s, _}, 20_000
    {:error, _} = Weft.open_stream(c, :sideways)
    id = Connection.open_stream!(c)
    :sys.suspend(s)
    data = :binary.copy("x", 1_000_000)
    n = Enum.find(1..200, &match?({:error, _}, Weft.send_data(c, id, data, timeout: &1 * 10)))
    {:error, _} = Weft.send_data(c, id, data, nowait: true)

    assert_receive {[:weft, :stream, :send, :exception], %{duration: _},
                    %{stream_id: ^id, reason: :busy, partial: false, data_size: 1_000_000}}

    :sys.resume(s)

    for _ <- 1..n do
      assert_receive {[:weft, :stream, :send, :stop], %{bytes_written: 1_000_000},
                      %{conn_pid: ^c, stream_id: ^id}},
                     20_000
    end

    refute_received {[:weft, :stream, :send, :stop], _, %{conn_pid: ^c}}
    assert :ok = Weft.shutdown_stream(c, id, :read, 0)
    assert_receive {[:weft, :stream, :shutdown, :start], _, %{direction: :read, conn_pid: ^c}}
  end

  test "stream: who waits when the connection ends is told of, too" do
    {_, port} = listen(active: true, handler: nil)
    c = connect(port)
    assert_receive {:quic_connection, _, s, _}, 20_000
    id = Connection.open_stream!(c)
    :sys.suspend(s)
    data = :binary.copy("x", 1_000_000)
    Enum.find(1..200, &match?({:error, _}, Weft.send_data(c, id, data, timeout: &1 * 10)))
    Weft.close_connection(c)

    assert_receive {[:weft, :stream, :send, :exception], %{duration: _},
                    %{conn_pid: ^c, reason: {:closed, %{cause: :local}}}}

    :sys.resume(s)
  end

  test "listener: start and accept that fail" do
    Process.flag(:trap_exit, true)
    {l, port} = listen(handler: Weft.Scripted, handler_opts: [refuse: true])
    assert {:error, _} = Listener.start_link(port: port, ip: :loopback, config: server(), active: true)
    assert_receive {[:weft, :listener, :start, :exception], %{duration: _}, %{port: ^port, kind: :error}}
    start(port)

    assert_receive {[:weft, :listener, :accept, :exception], %{duration: _},
                    %{listener_pid: ^l, peer_addr: {_, _}, local_addr: {_, ^port}, reason: :refused}},
                   20_000
  end

  test "what fails is an exception" do
    assert_raise ArithmeticError, fn ->
      Weft.Telemetry.span([:x], %{a: 1}, fn -> 1 / Process.get(:zero, 0) end)
    end

    assert_receive {[:weft, :x, :exception], %{duration: _},
                    %{kind: :error, reason: %ArithmeticError{}, stacktrace: [_ | _]}}
  end
end
