defmodule Weft.TelemetryTest do
  use ExUnit.Case
  alias Weft.{Config, Connection, Listener}

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

  test "what fails is an exception" do
    assert_raise ArithmeticError, fn ->
      Weft.Telemetry.span([:x], %{a: 1}, fn -> 1 / Process.get(:zero, 0) end)
    end

    assert_receive {[:weft, :x, :exception], %{duration: _},
                    %{kind: :error, reason: %ArithmeticError{}, stacktrace: [_ | _]}}
  end
end
