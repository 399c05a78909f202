defmodule Weft.EchoHandler do
  use Weft.Handler
  @impl true
  def handle_stream_readable(_conn, id, state), do: {:ok, state, [{:read_stream, id, []}]}
  # There is no way back on a stream that only the peer sends on.
  @impl true
  def handle_stream_data(_conn, id, _data, _fin, state) when rem(id, 4) >= 2, do: {:ok, state}
  def handle_stream_data(_conn, id, data, fin, state), do: {:ok, state, [{:send_data, id, data, fin: fin}]}
  @impl true
  def handle_datagram(_conn, data, state), do: {:ok, state, [{:send_datagram, data}]}
end

defmodule Weft.Scripted do
  use Weft.Handler
  # What a stream is sent is the name of the action that the server takes.
  @impl true
  def init(_conn, opts), do: if(opts[:refuse], do: {:error, :refused}, else: {:ok, opts[:test]})
  @impl true
  def handle_stream_readable(_conn, id, state), do: {:ok, state, [{:read_stream, id, []}]}
  @impl true
  def handle_stream_data(_conn, id, "refuse", _, state), do: {:ok, state, [{:refuse_stream, id, 9}]}
  def handle_stream_data(_conn, _, "close", _, state), do: {:ok, state, [{:close_connection, 5, "enough"}]}
  def handle_stream_data(_conn, _, "unknown", _, state), do: {:ok, state, [{:juggle, 3}]}
  def handle_stream_data(_conn, _, "crash", _, _state), do: raise("handler")
  def handle_stream_data(_conn, _, "uni", _, state), do: {:ok, state, [{:open_stream, type: :unidirectional}]}
  def handle_stream_data(_conn, id, data, fin, state), do: {:ok, state, [{:send_data, id, data, fin: fin}]}
  @impl true
  def handle_stream_opened(_conn, id, :outgoing, :unidirectional, state),
    do: {:ok, state, [{:send_data, id, "from the server", fin: true}]}

  def handle_stream_opened(_conn, _id, _direction, _type, state), do: {:ok, state}
  @impl true
  def terminate(reason, test), do: test && send(test, {:terminated, reason})
end

defmodule Weft.Case do
  use ExUnit.CaseTemplate

  # What the suites share: configurations, a listener that ends with its test, connections, and waiting without a clock.
  alias Weft.{Config, Listener}

  using do
    quote do
      import Weft.Case
      alias Weft.{Config, Connection, Error, Listener}
    end
  end

  def config, do: Config.new!() |> Config.set_application_protos(["echo"]) |> Config.enable_dgram(true)
  def server, do: Config.set(config(), :self_signed, "localhost")
  def client, do: Config.verify_peer(config(), false)

  def listen(opts \\ [handler: Weft.EchoHandler]) do
    {:ok, l} = Listener.start_link(Keyword.merge([port: 0, config: server(), ip: :loopback], opts))
    {:ok, {_, port}} = Listener.local_address(l)
    on_exit(fn -> Process.alive?(l) && Process.exit(l, :kill) end)
    {l, port}
  end

  def start(port, opts \\ []) do
    {:ok, c} = Weft.start_connection(Keyword.merge([host: "127.0.0.1", port: port, config: client()], opts))
    c
  end

  def connect(port, opts \\ []) do
    c = start(port, opts)
    :ok = Weft.wait_connected(c, 20_000)
    c
  end

  def collect(c, id, acc \\ []) do
    receive do
      {:quic_stream_data, ^c, ^id, data, true} -> IO.iodata_to_binary([acc, data])
      {:quic_stream_data, ^c, ^id, data, false} -> collect(c, id, [acc, data])
    after
      20_000 -> raise "stream #{id} has no end after #{IO.iodata_length(acc)} bytes"
    end
  end

  def until(fun, n \\ 1000) do
    cond do
      fun.() -> :ok
      n == 0 -> raise "still not"
      true -> Process.sleep(10) && until(fun, n - 1)
    end
  end

  def state(conn), do: :sys.get_state(conn) |> elem(1)
end
