defmodule WeftUser.Echo do
  use Weft.Handler
  @impl true
  def handle_stream_readable(_conn, id, state), do: {:ok, state, [{:read_stream, id, []}]}
  @impl true
  def handle_stream_data(_conn, id, data, fin, state), do: {:ok, state, [{:send_data, id, data, fin: fin}]}
end

defmodule WeftUser do
  # Somebody's program: it has nothing but a dependency on the package.
  def main do
    config = Weft.Config.new!() |> Weft.Config.set_application_protos(["echo"])
    server = Weft.Config.set(config, :self_signed, "localhost")
    {:ok, l} = Weft.Listener.start_link(port: 0, ip: :loopback, config: server, handler: WeftUser.Echo)
    {:ok, {_, port}} = Weft.Listener.local_address(l)
    client = Weft.Config.verify_peer(config, false)
    {:ok, c} = Weft.start_connection(host: "127.0.0.1", port: port, config: client)
    :ok = Weft.wait_connected(c, 20_000)
    {:ok, id} = Weft.open_stream(c)
    {:ok, _} = Weft.send_data(c, id, "hello over QUIC", fin: true)
    IO.puts(receive_all(c, id))
    Weft.close_connection(c)
    Weft.Listener.stop(l)
  end

  defp receive_all(c, id) do
    receive do
      {:quic_stream_data, ^c, ^id, data, true} -> data
      {:quic_stream_data, ^c, ^id, data, false} -> data <> receive_all(c, id)
    end
  end
end
