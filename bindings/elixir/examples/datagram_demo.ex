defmodule Examples.DatagramDemo do
  @moduledoc """
  Sends numbered datagrams to `echo_server.ex` and says how many came back, and how long they took. Datagrams are not
  repeated when they are lost: nobody waits for an old one.

      mix run -r examples/datagram_demo.ex -e 'Examples.DatagramDemo.main(~w(localhost 4433 100))'
  """
  alias Weft.{Config, Connection}

  def main([host, port, count]) do
    {sent, times} = run(host, String.to_integer(port), String.to_integer(count))
    IO.puts("#{length(times)} of #{sent} came back")
    if times != [], do: IO.puts("fastest #{Enum.min(times)} us, slowest #{Enum.max(times)} us")
  end

  def run(host, port, count) do
    config =
      Config.new!()
      |> Config.set_application_protos(["echo"])
      |> Config.enable_dgram(true)
      |> Config.verify_peer(false)

    {:ok, conn} = Weft.start_connection(host: host, port: port, config: config)
    :ok = Weft.wait_connected(conn)
    times = Enum.flat_map(1..count, &round_trip(conn, &1))
    Weft.close_connection(conn)
    {count, times}
  end

  defp round_trip(conn, n) do
    began = System.monotonic_time(:microsecond)
    :ok = Connection.dgram_send(conn, <<n::32>>)

    receive do
      {:quic_dgram, ^conn, <<^n::32>>} -> [System.monotonic_time(:microsecond) - began]
    after
      1000 -> []
    end
  end
end
