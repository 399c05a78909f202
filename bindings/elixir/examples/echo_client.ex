defmodule Examples.EchoClient do
  @moduledoc """
  Sends a text and prints what comes back. The third argument is a file with the authorities to trust, or `insecure`.

      mix run -r examples/echo_client.ex -e 'Examples.EchoClient.main(~w(localhost 4433 insecure hello))'
  """
  alias Weft.Config

  def main([host, port, trust | words]) do
    {:ok, conn} = Weft.start_connection(host: host, port: String.to_integer(port), config: config(trust))
    :ok = Weft.wait_connected(conn)
    {:ok, id} = Weft.open_stream(conn)
    {:ok, _} = Weft.send_data(conn, id, Enum.join(words, " "), fin: true)
    IO.puts(answer(conn, id))
    Weft.close_connection(conn)
  end

  # Data comes in pieces; the last one says so.
  defp answer(conn, id) do
    receive do
      {:quic_stream_data, ^conn, ^id, data, true} -> [data]
      {:quic_stream_data, ^conn, ^id, data, false} -> [data | answer(conn, id)]
      {:quic_connection_closed, ^conn, reason} -> raise "closed: #{inspect(reason)}"
    end
  end

  defp config(trust) do
    config = Config.new!() |> Config.set_application_protos(["echo"])

    if trust == "insecure",
      do: Config.verify_peer(config, false),
      else: Config.load_verify_locations_from_file(config, trust)
  end
end
