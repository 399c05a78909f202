defmodule Weft.Connection do
  @moduledoc """
  A connection as a process: it owns the connection of the core and its streams, calls a `Weft.Handler`, and ends with
  the connection, or with its controlling process.

  | option | type, unit, default | |
  |---|---|---|
  | `host` | name or address; needed | |
  | `port` | 0 to 65535; needed | |
  | `config` | `Weft.Config`; needed | |
  | `active` | boolean, `true` | what comes is sent as messages; `false`: `stream_recv/3` fetches it |
  | `controlling_process` | pid, the caller | who gets the messages; when it ends, so does the connection |
  | `handler`, `handler_opts` | module, keyword list | in place of `Weft.Handler.Default` |
  | `stream_recv_buffer_size` | bytes, 65536 | most bytes of one read |
  | `drain_timeout` | ms, 2000 | see below |
  | `session`, `token` | binary | of an earlier connection: `session/1`, and 0-RTT |
  | `local_port` | only 0 | the system chooses |
  | `mode` | any | only told to `Weft.Telemetry` |

  An option that is missing or unknown is `{:error, {:connection_error, exception}}`.

  A stream's received bytes wait in the core; at most 128 KiB of a stream are in the process, and about 1 MiB of all. When the
  process is shut down, or its controlling process ends in order, what was sent gets `drain_timeout` to arrive. When the *peer*
  closes, what had arrived before comes first, then the message of the end; what is not read then can be, for another
  `drain_timeout`.

  In the examples `conn` is a connection to an echo server, `id` a stream of it, and `passive` a connection with
  `active: false`.
  """
  import Weft.Bang
  alias Weft.{Config, Error}

  @typedoc "A stream's ID (RFC 9000 2.1)."
  @type id :: non_neg_integer()
  @typedoc "An application's error code (RFC 9000 20.2), below 2^62."
  @type code :: non_neg_integer()
  @typedoc "Two addresses, ours and the peer's."
  @type path :: {address(), address()}
  @type address :: {:inet.ip_address(), :inet.port_number()}
  @type direction :: :read | :write | :both
  @type stream_type :: :bidirectional | :unidirectional
  @type option ::
          {:host, String.t() | charlist() | :inet.ip_address()}
          | {:port, :inet.port_number()}
          | {:config, Config.t()}
          | {:active, boolean()}
          | {:controlling_process, pid()}
          | {:handler, module()}
          | {:handler_opts, keyword()}
          | {:stream_recv_buffer_size, pos_integer()}
          | {:drain_timeout, pos_integer()}
          | {:session, binary()}
          | {:token, binary()}
          | {:local_port, 0}
          | {:mode, term()}

  # Starting.

  @doc """
  The specification of a `:temporary` child: a connection is not started again, for who used it knows nothing of another. Name the
  controlling process, or a handler: the supervisor has no use for messages.

      opts = [host: "localhost", port: port, config: config, controlling_process: self()]
      Supervisor.start_link([{Weft.Connection, opts}], strategy: :one_for_one)
  """
  @spec child_spec([option()]) :: Supervisor.child_spec()
  def child_spec(opts),
    do: %{id: __MODULE__, start: {__MODULE__, :start_link, [opts]}, restart: :temporary, shutdown: 5000}

  @doc """
  Starts a client's connection, linked to the caller, and does not wait for the handshake: `wait_connected/2` does. Options
  are those above.

  Errors: `{:connection_error, exception}` for options, `Weft.Error` for what the core refuses.

      {:ok, conn} = Weft.Connection.start_link(host: "localhost", port: port, config: config)
      :ok = Weft.Connection.wait_connected(conn)
  """
  @spec start_link([option()]) :: {:ok, pid()} | {:error, term()}
  def start_link(opts) do
    opts = Keyword.put_new(opts, :controlling_process, self())
    :gen_statem.start_link(Weft.Connection.Process, opts, [])
  end

  bang(
    start_link(opts :: [option()]),
    pid(),
    ~s|conn = Weft.Connection.start_link!(host: "localhost", port: port, config: config)|
  )

  @doc """
  The same under the application's supervisor, without a link. There is no limit of connections, and a crash of one is its own.

      {:ok, conn} = Weft.Connection.connect(host: {127, 0, 0, 1}, port: port, config: config)
      :ok = Weft.Connection.wait_connected(conn)
  """
  @spec connect([option()]) :: {:ok, pid()} | {:error, term()}
  def connect(opts),
    do: opts |> Keyword.put_new(:controlling_process, self()) |> Weft.Application.start_connection()

  bang(
    connect(opts :: [option()]),
    pid(),
    ~s|conn = Weft.Connection.connect!(host: "localhost", port: port, config: config)|
  )

  @doc """
  Waits until the handshake is complete (RFC 9001 4.1.1), at most `timeout` ms.

  Errors: `:timeout`, after which it still goes on; `{:closed, _}` with cause and code when it failed: code 0x100 and the TLS
  alert (376: no application protocol in common, RFC 7301), cause `:handshake_timeout` when nobody answers.

      :ok = Weft.Connection.wait_connected(conn, 10_000)
  """
  @spec wait_connected(pid(), timeout()) :: :ok | {:error, Error.t()}
  def wait_connected(pid, timeout \\ 5000), do: call(pid, :wait_connected, timeout)

  bang(
    wait_connected(pid :: pid(), timeout :: timeout() \\ 5000),
    :ok,
    ":ok = Weft.Connection.wait_connected!(conn)"
  )

  # Streams.

  @doc """
  Opens a stream; its ID is what the other functions want. A client's are 0, 4, 8, ... and, `:unidirectional`, 2, 6, 10, ...; a
  server's 1, 5, 9, ... and 3, 7, 11, ... (RFC 9000 2.1).

  Errors: `:stream_limit` when the peer allows no more now (RFC 9000 4.6); `{:closed, _}`; `{:options, text}`.

      {:ok, id} = Weft.Connection.open_stream(conn)
      0 = rem(id, 4)
      {:ok, one_way} = Weft.Connection.open_stream(conn, :unidirectional)
      2 = rem(one_way, 4)
  """
  @spec open_stream(pid(), stream_type()) :: {:ok, id()} | {:error, Error.t()}
  def open_stream(pid, type \\ :bidirectional), do: call(pid, {:open_stream, type})

  bang(
    open_stream(pid :: pid(), type :: stream_type() \\ :bidirectional),
    id(),
    "id = Weft.Connection.open_stream!(conn)"
  )

  @doc """
  Sends, and returns how many bytes that were: all of them, when the core has taken them. Until then it waits; a peer who does not
  read slows his sender (RFC 9000 4). Options, or `true` for `fin: true`:

    * `fin` (`false`): ends our direction after these bytes, which may be none;
    * `timeout` (ms, `:infinity`): of the waiting. What was given stays queued;
    * `nowait` (`false`): `{:error, %Weft.Error{reason: :busy}}` in place of waiting, and nothing is taken.

  Errors: `:write_closed` after `fin`, `:unknown_stream`, `{:stopped, code}` when the peer wants no more, `{:closed, _}`.

      {:ok, 5} = Weft.Connection.stream_send(conn, id, "hello")
      {:ok, 6} = Weft.Connection.stream_send(conn, id, [" wor", "ld"], fin: true)
  """
  @spec stream_send(pid(), id(), iodata(), boolean() | keyword()) ::
          {:ok, non_neg_integer()} | {:error, Error.t()}
  def stream_send(pid, id, data, opts \\ [])
  def stream_send(pid, id, data, fin) when is_boolean(fin), do: stream_send(pid, id, data, fin: fin)

  def stream_send(pid, id, data, opts),
    do:
      call(
        pid,
        {:stream_send, id, data, opts[:fin] || false, opts[:nowait] || false},
        opts[:timeout] || :infinity
      )

  bang(
    stream_send(pid :: pid(), id :: id(), data :: iodata(), opts :: boolean() | keyword() \\ []),
    non_neg_integer(),
    ~s|5 = Weft.Connection.stream_send!(conn, id, "hello", true)|
  )

  @doc """
  What has come on a stream of a connection with `active: false`, at most `max_bytes`: `{data, fin}`; `fin` says that these were
  the last. The peer is given credit for what is read (RFC 9000 4.1). Does not wait: `{:quic_stream_readable, conn, id}` says
  when there is something.

  Errors: `:done` when there is nothing now, `{:reset, code}`, `:unknown_stream` after the end, `{:closed, _}`.

      id = Weft.Connection.open_stream!(passive)
      5 = Weft.Connection.stream_send!(passive, id, "hello", fin: true)
      receive do: ({:quic_stream_readable, ^passive, ^id} -> :ok)
      {:ok, {"he", false}} = Weft.Connection.stream_recv(passive, id, 2)
  """
  @spec stream_recv(pid(), id(), pos_integer() | nil) :: {:ok, {binary(), boolean()}} | {:error, Error.t()}
  def stream_recv(pid, id, max_bytes \\ nil), do: call(pid, {:stream_recv, id, max_bytes})

  bang(
    stream_recv(pid :: pid(), id :: id(), max_bytes :: pos_integer() | nil \\ nil),
    {binary(), boolean()},
    """
    id = Weft.Connection.open_stream!(passive)
    5 = Weft.Connection.stream_send!(passive, id, "hello")
    receive do: ({:quic_stream_readable, ^passive, ^id} -> :ok)
    {"hello", false} = Weft.Connection.stream_recv!(passive, id)\
    """
  )

  @doc """
  Ends directions of a stream: `:write` with FIN, after what waits; with a code other than 0 by RESET_STREAM, which drops what was
  not sent; `:read` with STOP_SENDING (RFC 9000 3.5). The code may be given as `error_code: code`.

  Errors: `:unknown_stream`, `{:options, text}` for another direction, `{:closed, _}`.

      :ok = Weft.Connection.stream_shutdown(conn, id, :write)
      :ok = Weft.Connection.stream_shutdown(conn, id, :read, 7)
  """
  @spec stream_shutdown(pid(), id(), direction(), code() | keyword()) :: :ok | {:error, Error.t()}
  def stream_shutdown(pid, id, direction, code \\ 0)

  def stream_shutdown(pid, id, direction, opts) when is_list(opts),
    do: stream_shutdown(pid, id, direction, opts[:error_code] || 0)

  def stream_shutdown(pid, id, direction, code), do: call(pid, {:stream_shutdown, id, direction, code})

  bang(
    stream_shutdown(pid :: pid(), id :: id(), direction :: direction(), code :: code() | keyword() \\ 0),
    :ok,
    ":ok = Weft.Connection.stream_shutdown!(conn, id, :both, error_code: 7)"
  )

  @doc """
  Streams with something to read, or whose end was not read yet, in the order of their IDs. Error: `{:closed, _}`, `:closed`.

      {:ok, []} = Weft.Connection.readable_streams(conn)
  """
  @spec readable_streams(pid()) :: {:ok, [id()]} | {:error, Error.t()}
  def readable_streams(pid), do: call(pid, :readable_streams)
  bang(readable_streams(pid :: pid()), [id()], "[] = Weft.Connection.readable_streams!(conn)")

  @doc """
  Streams that take bytes now, in the order of their IDs. Errors: `{:closed, _}`, `:closed`.

      {:ok, [^id]} = Weft.Connection.writable_streams(conn)
  """
  @spec writable_streams(pid()) :: {:ok, [id()]} | {:error, Error.t()}
  def writable_streams(pid), do: call(pid, :writable_streams)
  bang(writable_streams(pid :: pid()), [id()], "[^id] = Weft.Connection.writable_streams!(conn)")

  # Datagrams.

  @doc """
  Sends a datagram (RFC 9221). It arrives whole, or not at all.

  Errors: `:too_large` for more than `dgram_max_len/1` bytes, `:unsupported` when the peer takes none, `{:closed, _}`.

      :ok = Weft.Connection.dgram_send(conn, "ping")
      receive do: ({:quic_dgram, ^conn, "ping"} -> :ok)
  """
  @spec dgram_send(pid(), iodata()) :: :ok | {:error, Error.t()}
  def dgram_send(pid, data), do: call(pid, {:ask, :send_datagram, [data]})
  bang(dgram_send(pid :: pid(), data :: iodata()), :ok, ~s|:ok = Weft.Connection.dgram_send!(conn, "ping")|)

  @doc """
  The next datagram, with `active: false`, or with a handler that has no `handle_datagram/3`; waits for it at most `timeout` ms.
  Of those that wait the newest 1024 are kept. Errors: `:timeout`, `{:closed, _}`.

      :ok = Weft.Connection.dgram_send(passive, "ping")
      {:ok, "ping"} = Weft.Connection.dgram_recv(passive)
  """
  @spec dgram_recv(pid(), timeout()) :: {:ok, binary()} | {:error, Error.t()}
  def dgram_recv(pid, timeout \\ 5000), do: call(pid, {:dgram_recv, timeout})

  bang(
    dgram_recv(pid :: pid(), timeout :: timeout() \\ 5000),
    binary(),
    """
    :ok = Weft.Connection.dgram_send(passive, "ping")
    "ping" = Weft.Connection.dgram_recv!(passive)\
    """
  )

  @doc """
  Most bytes that a datagram may have now: what the peer takes and the path's MTU allow; 0 when the peer takes none. Error:
  `{:closed, _}`.

      {:ok, most} = Weft.Connection.dgram_max_len(conn)
      true = most > 1000
  """
  @spec dgram_max_len(pid()) :: {:ok, non_neg_integer()} | {:error, Error.t()}
  def dgram_max_len(pid), do: call(pid, {:ask, :max_datagram, []})
  bang(dgram_max_len(pid :: pid()), non_neg_integer(), "most = Weft.Connection.dgram_max_len!(conn)")

  # Paths.

  @doc """
  Client: moves to a new local port, or to another local address, `ip` or `{ip, port}` (RFC 9000 9). How it went comes as
  `{:quic_path_validated, conn, path}` or `{:quic_path_failed, conn, path, reason}`.

  Errors: `:state` for a server, until the handshake is confirmed, or when the server wants no clients that move; `:blocked` when
  it has given no unused connection ID yet: try again; `:address`, `:io`, `{:closed, _}`.

      case Weft.Connection.migrate(conn) do
        :ok -> :moving
        {:error, %Weft.Error{}} -> :not_yet
      end
  """
  @spec migrate(pid(), nil | :inet.ip_address() | address()) :: :ok | {:error, Error.t()}
  def migrate(pid, local \\ nil), do: call(pid, {:ask, :migrate, List.wrap(local)})

  bang(
    migrate(pid :: pid(), local :: nil | :inet.ip_address() | address() \\ nil),
    :ok,
    ":ok = Weft.Connection.migrate!(conn)"
  )

  @doc """
  Paths that were seen, and what became of them; a path is `{local, peer}`. The newest 32. Error: `{:closed, _}`.

      {:ok, paths} = Weft.Connection.paths(conn)
      [{{_local, _peer}, :active}] = Map.to_list(paths)
  """
  @spec paths(pid()) :: {:ok, %{path() => :active | :validated | :failed}} | {:error, Error.t()}
  def paths(pid), do: call(pid, :paths)

  bang(
    paths(pid :: pid()),
    %{path() => :active | :validated | :failed},
    "paths = Weft.Connection.paths!(conn)"
  )

  @doc """
  The path in use. Error: `{:closed, _}`.

      {:ok, {{_ip, _port}, {{127, 0, 0, 1}, ^port}}} = Weft.Connection.active_path(conn)
  """
  @spec active_path(pid()) :: {:ok, path()} | {:error, Error.t()}
  def active_path(pid), do: call(pid, :active_path)
  bang(active_path(pid :: pid()), path(), "{_local, _peer} = Weft.Connection.active_path!(conn)")

  # Knowing.

  @doc """
  Counters; those of `docs/stats.md`, by their names. Of a connection that is closed, the last. Error: `:closed`.

      {:ok, %{packets_sent: sent}} = Weft.Connection.stats(conn)
      true = sent > 0
  """
  @spec stats(pid()) :: {:ok, %{atom() => non_neg_integer()}} | {:error, Error.t()}
  def stats(pid), do: call(pid, {:ask, :stats, []})

  bang(
    stats(pid :: pid()),
    %{atom() => non_neg_integer()},
    "%{bytes_received: _} = Weft.Connection.stats!(conn)"
  )

  @doc """
  The path in use: `rtt`, `rtt_min`, `rtt_latest`, `rtt_variance` (nanoseconds; RFC 9002 5), `congestion_window`,
  `bytes_in_flight`, `mtu` (bytes), `pto_count`, `slow_start_threshold`, `validated`, `ecn`, `sockname`, `peername`, and its counters
  (docs/stats.md). Error: `{:closed, _}`.

      {:ok, %{mtu: mtu}} = Weft.Connection.path_stats(conn)
      true = mtu >= 1200
  """
  @spec path_stats(pid()) :: {:ok, map()} | {:error, Error.t()}
  def path_stats(pid), do: call(pid, {:ask, :path_stats, []})
  bang(path_stats(pid :: pid()), map(), "%{rtt: _ns} = Weft.Connection.path_stats!(conn)")

  @doc """
  The same of all paths, with `use`: the one that is `:in_use`, then any `:spare` ones, then the newest that are `:gone`. Error:
  `{:closed, _}`.

      {:ok, [%{use: :in_use, packets_sent: _} | _others]} = Weft.Connection.all_path_stats(conn)
  """
  @spec all_path_stats(pid()) :: {:ok, [map()]} | {:error, Error.t()}
  def all_path_stats(pid), do: call(pid, {:ask, :all_path_stats, []})
  bang(all_path_stats(pid :: pid()), [map()], "[%{use: :in_use} | _] = Weft.Connection.all_path_stats!(conn)")

  @doc """
  What is known about it: `state`, `role`, `alpn`, `version`, `cipher`, `group`, `server_name`, `resumed`, `early_data`, `sockname`,
  `peername`, the peer's transport parameters (`peer_initial_max_data`, ...; RFC 9000 18.2), times in nanoseconds. Error:
  `{:closed, _}`.

      {:ok, %{alpn: "echo", role: :client}} = Weft.Connection.info(conn)
  """
  @spec info(pid()) :: {:ok, map()} | {:error, Error.t()}
  def info(pid), do: call(pid, {:ask, :info, []})
  bang(info(pid :: pid()), map(), ~s|%{alpn: "echo"} = Weft.Connection.info!(conn)|)

  @doc """
  The peer's certificate, DER. Errors: `:no_peercert` when it has shown none, `{:closed, _}`.

      {:ok, der} = Weft.Connection.peer_cert(conn)
      {:Certificate, _, _, _} = :public_key.pkix_decode_cert(der, :plain)
  """
  @spec peer_cert(pid()) :: {:ok, binary()} | {:error, Error.t()}
  def peer_cert(pid), do: call(pid, {:ask, :peercert, []})
  bang(peer_cert(pid :: pid()), binary(), "<<0x30, _::binary>> = Weft.Connection.peer_cert!(conn)")

  @doc """
  Client: the newest session (RFC 8446 4.6.1), for option `session` of another connection, which then needs no certificate, and
  with `Weft.Config.enable_early_data/1` may send at once (0-RTT). `{:quic_session, conn, session}` tells that there is one.

  Errors: `:no_session` when the server has sent none yet, `{:closed, _}`.

      receive do: ({:quic_session, ^conn, _} -> :ok)
      {:ok, session} = Weft.Connection.session(conn)
      opts = [host: "localhost", port: port, config: config, session: session]
      {:ok, again} = Weft.Connection.connect(opts)
      :ok = Weft.Connection.wait_connected(again)
      {:ok, %{resumed: true}} = Weft.Connection.info(again)
  """
  @spec session(pid()) :: {:ok, binary()} | {:error, Error.t()}
  def session(pid), do: call(pid, {:ask, :session, []})

  bang(
    session(pid :: pid()),
    binary(),
    """
    receive do: ({:quic_session, ^conn, _} -> :ok)
    session = Weft.Connection.session!(conn)\
    """
  )

  @doc """
  Begins a key update (RFC 9001 6). Errors: `:state` until the handshake is confirmed, or while one goes on; `{:closed, _}`.

      case Weft.Connection.update_keys(conn) do
        :ok -> :begun
        {:error, %Weft.Error{}} -> :not_yet
      end
  """
  @spec update_keys(pid()) :: :ok | {:error, Error.t()}
  def update_keys(pid), do: call(pid, {:ask, :update_keys, []})

  bang(
    update_keys(pid :: pid()),
    :ok,
    ":ok = Weft.Connection.update_keys!(conn)"
  )

  @doc """
  Whether the handshake is complete and the connection is open.

      true = Weft.Connection.is_established?(conn)
  """
  @spec is_established?(pid()) :: boolean()
  def is_established?(pid), do: call(pid, :state) == {:ok, :connected}

  @doc """
  Whether it was closed, by either side, and the core still keeps it in its closing or draining period: three probe time-outs, in
  which late packets of the peer are recognised (RFC 9000 10.2). The process lives at least as long.

      false = Weft.Connection.is_draining?(conn)
      :ok = Weft.Connection.close(conn)
      true = Weft.Connection.is_draining?(conn)
  """
  @spec is_draining?(pid()) :: boolean()
  def is_draining?(pid), do: match?({:ok, left} when left > 0, call(pid, :draining))

  @doc """
  Whether it is closed; from the moment that either side has closed it.

      false = Weft.Connection.is_closed?(conn)
  """
  @spec is_closed?(pid()) :: boolean()
  def is_closed?(pid), do: call(pid, :state) not in [{:ok, :connected}, {:ok, :handshaking}]

  @doc """
  Closes (RFC 9000 10.2) with an application error code and a reason, of which 128 bytes are sent: `error_code` (0), `reason` (`""`).
  `drain` (ms, 0) first waits, at most that long, until the peer has acknowledged what was sent. What its program has not read by
  then may be lost to it: where that matters let the receiver close. A connection that is closed already stays as it is.

      :ok = Weft.Connection.close(conn, error_code: 0, reason: "done", drain: 2000)
  """
  @spec close(pid(), keyword()) :: :ok
  def close(pid, opts \\ []) do
    _ = call(pid, {:close, opts[:error_code] || 0, opts[:reason] || "", opts[:drain] || 0})
    :ok
  end

  defp call(pid, request, timeout \\ :infinity) do
    Error.wrap(:gen_statem.call(pid, request, timeout), operation(request))
  catch
    :exit, {:timeout, _} -> {:error, Error.new(operation(request), :timeout)}
    :exit, _ -> {:error, Error.new(operation(request), :closed)}
  end

  defp operation({:ask, :send_datagram, _}), do: :dgram_send
  defp operation({:ask, :max_datagram, _}), do: :dgram_max_len
  defp operation({:ask, :peercert, _}), do: :peer_cert
  defp operation({:ask, what, _}), do: what
  defp operation(request) when is_tuple(request), do: elem(request, 0)
  defp operation(request), do: request
end
