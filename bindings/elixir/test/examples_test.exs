defmodule Weft.ExamplesTest do
  use ExUnit.Case
  import ExUnit.CaptureIO
  alias Examples.{Chat, DatagramDemo, EchoClient, EchoServer, FileTransfer}
  alias Weft.{Error, Listener}

  for file <- Path.wildcard(Path.expand("../examples/*.ex", __DIR__)), do: Code.require_file(file)

  defp port(listener) do
    {:ok, {_, port}} = Listener.local_address(listener)
    port
  end

  test "echo client and server, datagram demo" do
    {:ok, server} = EchoServer.start(0)
    args = ["127.0.0.1", "#{port(server)}", "insecure", "hello", "there"]
    assert capture_io(fn -> EchoClient.main(args) end) == "hello there\n"
    text = capture_io(fn -> DatagramDemo.main(["127.0.0.1", "#{port(server)}", "10"]) end)
    assert text =~ ~r/^([1-9]|10) of 10 came back\nfastest \d+ us/
    Listener.stop(server)
  end

  test "file transfer: a file of several chunks, one that is not there, nothing outside the directory" do
    dir = Path.join(System.tmp_dir!(), "weft-files-#{System.unique_integer([:positive])}")
    File.mkdir_p!(Path.join(dir, "served"))
    on_exit(fn -> File.rm_rf!(dir) end)
    data = :crypto.strong_rand_bytes(3_000_000)
    File.write!(Path.join(dir, "served/a.bin"), data)
    File.write!(Path.join(dir, "secret"), "secret")
    {:ok, server} = FileTransfer.serve(0, Path.join(dir, "served"))
    to = Path.join(dir, "copy")
    assert :ok = FileTransfer.main(["get", "127.0.0.1", "#{port(server)}", "a.bin", to])
    assert File.read!(to) == data

    for name <- ["nothing", "../secret", ".."] do
      assert_raise Error, ~r/reset/, fn -> FileTransfer.get("127.0.0.1", port(server), name, to) end
    end

    Listener.stop(server)
  end

  test "chat: the others hear what one says, and that one comes and goes" do
    {:ok, room} = Chat.open(0)
    port = Chat.port(room)
    {ada, ada_id} = Chat.join("127.0.0.1", port, "ada")
    # The room has heard of ada when somebody who comes later is told to her.
    assert wait_members(room, 1)
    {bob, bob_id} = Chat.join("127.0.0.1", port, "bob")
    assert heard(ada, ada_id, "* bob joins\n")
    Chat.say(ada, ada_id, "hello")
    assert heard(bob, bob_id, "ada: hello\n")
    Weft.close_connection(bob)
    assert heard(ada, ada_id, "* bob leaves\n")
    GenServer.stop(room)
  end

  defp wait_members(room, n) do
    if map_size(:sys.get_state(room).members) == n, do: true, else: Process.sleep(10) && wait_members(room, n)
  end

  # Lines may come in pieces.
  defp heard(conn, id, text, had \\ "") do
    if had =~ text do
      true
    else
      receive do
        {:quic_stream_data, ^conn, ^id, data, _} -> heard(conn, id, text, had <> data)
      after
        20_000 -> flunk("heard only #{inspect(had)}")
      end
    end
  end
end
