defmodule Examples.FileTransfer do
  @moduledoc """
  Serves the files of a directory, one stream for each: the client sends a name and ends its direction, the server
  sends the file, or resets with code 404. No file is ever whole in memory: each side waits for the other.

      mix run -r examples/file_transfer.ex -e 'Examples.FileTransfer.main(~w(serve 4433 /srv/files))'
      mix run -r examples/file_transfer.ex -e 'Examples.FileTransfer.main(~w(get localhost 4433 a.iso /tmp/a.iso))'
  """
  @behaviour Weft.Listener
  alias Weft.{Config, Connection, Listener}

  @not_found 404
  @chunk 65_536

  def main(["serve", port, directory]) do
    {:ok, _} = serve(String.to_integer(port), directory)
    Process.sleep(:infinity)
  end

  def main(["get", host, port, name, to]), do: get(host, String.to_integer(port), name, to)

  def serve(port, directory) do
    :persistent_term.put(__MODULE__, directory)
    Listener.start_link(port: port, connection_handler: __MODULE__, config: server())
  end

  def get(host, port, name, to) do
    {:ok, conn} = Weft.start_connection(host: host, port: port, config: client(), active: false)
    :ok = Weft.wait_connected(conn)

    try do
      stream = Enum.into([name], Weft.Stream.open!(conn))
      Enum.into(stream, File.stream!(to, [], @chunk))
      :ok
    after
      Weft.close_connection(conn)
    end
  end

  # A process for each connection. It is the connection's controlling process: when it returns, that is the end.
  @impl true
  def handle_connection(conn, peer) do
    receive do
      {:quic_stream_opened, ^conn, id, :incoming, :bidirectional} ->
        send_file(conn, %Weft.Stream{conn: conn, id: id})
        handle_connection(conn, peer)

      {:quic_connection_closed, ^conn, _} ->
        :ok
    end
  end

  defp send_file(conn, stream) do
    # Only the last part of the name: nobody leaves the directory.
    path = Path.join(:persistent_term.get(__MODULE__), Path.basename(Enum.join(stream)))

    if File.regular?(path),
      do: Enum.into(File.stream!(path, [], @chunk), stream),
      else: Connection.stream_shutdown(conn, stream.id, :write, @not_found)
  end

  defp server, do: Config.set(config(), :self_signed, "localhost")
  defp client, do: Config.verify_peer(config(), false)
  defp config, do: Config.new!() |> Config.set_application_protos(["files"])
end
