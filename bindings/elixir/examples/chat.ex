defmodule Examples.Chat do
  @moduledoc """
  A room: what one says all others hear. A client has one stream, with a line for each message. The room is one process,
  told of everything by messages (`active: true`); it never waits for a client: who reads too slowly misses lines.

      mix run -r examples/chat.ex -e 'Examples.Chat.main(~w(room 4433))'
      mix run -r examples/chat.ex -e 'Examples.Chat.main(~w(join localhost 4433 ada))'
  """
  use GenServer
  alias Weft.{Config, Listener}

  def main(["room", port]) do
    {:ok, _} = open(String.to_integer(port))
    Process.sleep(:infinity)
  end

  def main(["join", host, port, name]) do
    {conn, id} = join(host, String.to_integer(port), name)
    spawn_link(fn -> for line <- IO.stream(), do: say(conn, id, String.trim_trailing(line)) end)
    listen(conn, id)
  end

  # The client.

  def join(host, port, name) do
    {:ok, conn} = Weft.start_connection(host: host, port: port, config: client())
    :ok = Weft.wait_connected(conn)
    {:ok, id} = Weft.open_stream(conn)
    say(conn, id, name)
    {conn, id}
  end

  def say(conn, id, line), do: {:ok, _} = Weft.send_data(conn, id, [line, "\n"])

  defp listen(conn, id) do
    receive do
      {:quic_stream_data, ^conn, ^id, data, _fin} -> IO.write(data) && listen(conn, id)
      {:quic_connection_closed, ^conn, _} -> :ok
    end
  end

  # The room: its members by {conn, id}, each with a name (its first line) and what it has of a line.

  def open(port), do: GenServer.start_link(__MODULE__, port)
  def port(room), do: GenServer.call(room, :port)

  @impl true
  def init(port) do
    {:ok, listener} = Listener.start_link(port: port, active: true, config: server())
    {:ok, %{listener: listener, members: %{}}}
  end

  @impl true
  def handle_call(:port, _from, room) do
    {:ok, {_, port}} = Listener.local_address(room.listener)
    {:reply, port, room}
  end

  @impl true
  def handle_info({:quic_stream_opened, conn, id, :incoming, :bidirectional}, room),
    do: {:noreply, put_in(room.members[{conn, id}], {nil, ""})}

  def handle_info({:quic_stream_data, conn, id, data, _fin}, room)
      when is_map_key(room.members, {conn, id}) do
    {name, rest} = room.members[{conn, id}]
    {lines, [rest]} = (rest <> data) |> String.split("\n") |> Enum.split(-1)
    name = Enum.reduce(lines, name, &heard(&1, &2, {conn, id}, room))
    {:noreply, put_in(room.members[{conn, id}], {name, rest})}
  end

  def handle_info({:quic_connection_closed, conn, _}, room) do
    {gone, members} = Enum.split_with(room.members, fn {{c, _}, _} -> c == conn end)
    room = %{room | members: Map.new(members)}
    for {who, {name, _}} <- gone, name, do: tell(room, who, "* #{name} leaves\n")
    {:noreply, room}
  end

  def handle_info(_other, room), do: {:noreply, room}

  defp heard(name, nil, who, room) do
    tell(room, who, "* #{name} joins\n")
    name
  end

  defp heard(line, name, who, room) do
    tell(room, who, "#{name}: #{line}\n")
    name
  end

  defp tell(room, from, line) do
    for {{conn, id} = to, _} <- room.members, to != from, do: Weft.send_data(conn, id, line, nowait: true)
  end

  defp server, do: Config.set(config(), :self_signed, "localhost")
  defp client, do: Config.verify_peer(config(), false)
  defp config, do: Config.new!() |> Config.set_application_protos(["chat"])
end
