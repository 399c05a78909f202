defmodule Examples.EchoServer do
  @moduledoc """
  Sends back what it is sent, on streams and in datagrams. With files for the certificate and the key, or without:
  then with a certificate of its own making.

      mix run -r examples/echo_server.ex -e 'Examples.EchoServer.main(~w(4433 cert.pem key.pem))'
  """
  use Weft.Handler
  alias Weft.Config

  @impl true
  def handle_stream_readable(_conn, id, state), do: {:ok, state, [{:read_stream, id, []}]}

  # A stream that only the peer may send on has no way back.
  @impl true
  def handle_stream_data(_conn, id, _data, _fin, state) when rem(id, 4) >= 2, do: {:ok, state}
  def handle_stream_data(_conn, id, data, fin, state), do: {:ok, state, [{:send_data, id, data, fin: fin}]}

  @impl true
  def handle_datagram(_conn, data, state), do: {:ok, state, [{:send_datagram, data}]}

  def main([port | files]) do
    {:ok, listener} = start(String.to_integer(port), files)
    {:ok, {_, port}} = Weft.Listener.local_address(listener)
    IO.puts("listening on port #{port}")
    Process.sleep(:infinity)
  end

  def start(port, files \\ []),
    do: Weft.Listener.start_link(port: port, config: config(files), handler: __MODULE__)

  defp config(files) do
    config = Config.new!() |> Config.set_application_protos(["echo"]) |> Config.enable_dgram(true)

    case files do
      [cert, key] ->
        config |> Config.load_cert_chain_from_pem_file(cert) |> Config.load_priv_key_from_pem_file(key)

      [] ->
        Config.set(config, :self_signed, "localhost")
    end
  end
end
