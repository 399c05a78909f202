defmodule Weft.Listener do
  @moduledoc """
  A listener as a process; its connections are children of the application's supervisor, and outlive nothing but each other.

  | option | type, unit, default | |
  |---|---|---|
  | `port` | 0 to 65535; needed | 0: the system chooses |
  | `config` | `Weft.Config`; needed | with a certificate |
  | `handler`, `handler_opts` | module, keyword list | a `Weft.Handler` serves, in the connection's process |
  | `active: true` | boolean, `false` | `{:quic_connection, listener, conn, peer}` to the controlling process, then the messages of `Weft.Handler.Default` |
  | `connection_handler` | module | `c:handle_connection/2` serves, in a process of its own for each connection |
  | `controlling_process` | pid, the caller | of `active: true` |
  | `name` | of `GenServer` | |
  | `ip` | address, `:any`, `:loopback`; `:any` | to listen on |
  | `engines` | `:one` or `:all`, `:one` | one engine of the core serves the port, or all of them: for more than one thread can do |
  | `stream_recv_buffer_size` | bytes, 65536 | of its connections |
  | `drain_timeout` | ms, 2000 | of its connections |
  | `shutdown_timeout` | ms, 5000 | `stop/1` takes no longer |

  One of `handler`, `active` and `connection_handler` must be given. An option that is missing or unknown is
  `{:error, {:listener_error, exception}}`.

  In the examples `listener` is one, and `server` a configuration with a certificate.
  """
  use GenServer
  import Weft.Bang
  alias Weft.{Error, Telemetry}

  @options [
    :port,
    :config,
    :handler,
    :handler_opts,
    :active,
    :connection_handler,
    :controlling_process,
    :name,
    :ip,
    :engines,
    :stream_recv_buffer_size,
    :drain_timeout,
    :shutdown_timeout
  ]
  @shutdown 5000

  @type option ::
          {:port, :inet.port_number()}
          | {:config, Weft.Config.t()}
          | {:handler, module()}
          | {:handler_opts, keyword()}
          | {:active, boolean()}
          | {:connection_handler, module()}
          | {:controlling_process, pid()}
          | {:name, GenServer.name()}
          | {:ip, :inet.ip_address() | :any | :loopback}
          | {:engines, :one | :all}
          | {:stream_recv_buffer_size, pos_integer()}
          | {:drain_timeout, pos_integer()}
          | {:shutdown_timeout, pos_integer()}

  @doc """
  Serves a connection, as its controlling process: messages of `Weft.Handler.Default` come here, with `active: false` unless the
  listener has `active: true`. When it returns, the connection is closed, after what was sent has arrived.

      def handle_connection(conn, _peer) do
        receive do
          {:quic_stream_readable, ^conn, id} -> Weft.send_data(conn, id, "hello", fin: true)
        end
      end
  """
  @callback handle_connection(conn :: pid(), peer :: Weft.Connection.address()) :: term()

  @doc """
  The specification of a permanent child, which is given `shutdown_timeout` and a bit more to end.

      Supervisor.start_link([{Weft.Listener, port: 0, config: server, active: true}], strategy: :one_for_one)
  """
  @spec child_spec([option()]) :: Supervisor.child_spec()
  def child_spec(opts) do
    limit = opts[:shutdown_timeout] || @shutdown
    # Once for its connections, and once for what the core still has of them.
    %{id: opts[:name] || __MODULE__, start: {__MODULE__, :start_link, [opts]}, shutdown: 2 * limit + 1000}
  end

  @doc """
  Starts it, linked to the caller. Options are those above.

  Errors: `{:listener_error, exception}` for options, `Weft.Error` for what the core or the system refuses (`:io`: the port is in use,
  `:certificate`, `:tls`).

      {:ok, listener} = Weft.Listener.start_link(port: 0, config: server, active: true)
      :ok = Weft.Listener.stop(listener)
  """
  @spec start_link([option()]) :: GenServer.on_start()
  def start_link(opts) do
    opts = Keyword.put_new(opts, :controlling_process, self())
    GenServer.start_link(__MODULE__, opts, Keyword.take(opts, [:name]))
  end

  bang(
    start_link(opts :: [option()]),
    pid(),
    """
    listener = Weft.Listener.start_link!(port: 0, config: server, active: true)
    :ok = Weft.Listener.stop(listener)\
    """
  )

  @doc """
  How many connections are alive. Those that are closed count until their draining period is over (RFC 9000 10.2).

      true = Weft.Listener.connection_count(listener) >= 0
  """
  @spec connection_count(GenServer.server()) :: non_neg_integer()
  def connection_count(listener), do: GenServer.call(listener, :count)

  @doc """
  The address it is bound to. Error: `:closed`.

      {:ok, {{127, 0, 0, 1}, _port}} = Weft.Listener.local_address(listener)
  """
  @spec local_address(GenServer.server()) :: {:ok, Weft.Connection.address()} | {:error, Error.t()}
  def local_address(listener), do: GenServer.call(listener, :address)

  bang(
    local_address(listener :: GenServer.server()),
    Weft.Connection.address(),
    "{_ip, _port} = Weft.Listener.local_address!(listener)"
  )

  @doc """
  Connections that come from now on have this configuration: new certificates, without a pause. Errors: as of `start_link/1`.

      :ok = Weft.Listener.reload(listener, server)
  """
  @spec reload(GenServer.server(), Weft.Config.t()) :: :ok | {:error, Error.t()}
  def reload(listener, config), do: GenServer.call(listener, {:reload, config})

  bang(
    reload(listener :: GenServer.server(), config :: Weft.Config.t()),
    :ok,
    ":ok = Weft.Listener.reload!(listener, server)"
  )

  @doc """
  Closes every connection with code 0 and the reason "Listener shutting down", after what is being sent has arrived, at most after
  `shutdown_timeout`; then stops, and gives the port back.

      :ok = Weft.Listener.stop(listener)
  """
  @spec stop(GenServer.server()) :: :ok
  def stop(listener), do: GenServer.stop(listener, :normal, :infinity)

  @impl true
  def init(opts) do
    Process.flag(:trap_exit, true)
    {port, config} = {Keyword.fetch!(opts, :port), Keyword.fetch!(opts, :config)}
    known!(opts)

    unless opts[:handler] || opts[:active] || opts[:connection_handler],
      do: raise(KeyError, key: :handler, term: Keyword.keys(opts))

    options =
      Map.merge(%{active: 64, stream_active: :once, ip: opts[:ip] || :any}, Weft.Config.to_options(config))

    meta = %{port: port, handler: opts[:handler], listener_pid: self()}

    Telemetry.span([:listener, :start], meta, fn ->
      case listen(opts[:engines], port, options) do
        {:ok, ls} -> {{:ok, %{listeners: ls, opts: opts, conns: %{}}}, %{}, %{}}
        {:error, reason} -> {{:error, Error.new(:listen, reason)}, %{}, %{}}
      end
    end)
    |> case do
      {:ok, state} -> {:ok, state}
      {:error, error} -> {:stop, error}
    end
  rescue
    error in [KeyError, ArgumentError] -> {:stop, {:listener_error, error}}
  end

  defp listen(:all, port, options), do: :weft.listen_all(port, options)
  defp listen(_one, port, options), do: with({:ok, l} <- :weft.listen(port, options), do: {:ok, [l]})

  defp known!(opts) do
    unless opts[:engines] in [nil, :one, :all],
      do: raise(ArgumentError, "engines: #{inspect(opts[:engines])} is neither :one nor :all")

    for {name, _} <- opts, name not in @options do
      raise ArgumentError, "unknown option #{inspect(name)}; known are #{inspect(@options)}"
    end
  end

  @impl true
  def handle_call(:count, _from, state), do: {:reply, map_size(state.conns), state}

  def handle_call(:address, _from, state),
    do: {:reply, Error.wrap(:weft.sockname(hd(state.listeners)), :local_address), state}

  def handle_call({:reload, config}, _from, state) do
    # The same for all of them: what one refuses all refuse, and the first that does is the answer.
    result =
      Enum.reduce_while(state.listeners, :ok, fn l, :ok ->
        case :weft.reload(l, Weft.Config.to_options(config)) do
          :ok -> {:cont, :ok}
          error -> {:halt, error}
        end
      end)

    {:reply, Error.wrap(result, :reload), state}
  end

  @impl true
  def handle_info({:weft_conn, _, conn}, state), do: {:noreply, accept(conn, state)}

  def handle_info({:weft_passive, listener}, state) do
    _ = :weft.setopts(listener, active: 64)
    {:noreply, state}
  end

  def handle_info({:DOWN, _, :process, pid, reason}, state) do
    conns = Map.delete(state.conns, pid)

    meta = %{
      listener_pid: self(),
      conn_pid: pid,
      dcid: nil,
      reason: reason,
      active_connections: map_size(conns)
    }

    Telemetry.event(
      [:listener, :connection_terminated, :stop],
      %{monotonic_time: System.monotonic_time()},
      meta
    )

    {:noreply, %{state | conns: conns}}
  end

  def handle_info({:weft_closed, {:weft_listener, _}, _}, state), do: {:stop, :normal, state}
  def handle_info({:EXIT, _, :normal}, state), do: {:noreply, state}
  def handle_info({:EXIT, _, reason}, state), do: {:stop, reason, state}
  def handle_info(_, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, state) do
    # Half of the time is for what is being sent; the rest for the connections' ends.
    limit = state.opts[:shutdown_timeout] || @shutdown
    until = System.monotonic_time(:millisecond) + limit
    limit = div(limit, 2)

    closing =
      for {pid, _} <- state.conns do
        {:ok, task} =
          Task.Supervisor.start_child(Weft.TaskSupervisor, fn ->
            Weft.Connection.close(pid, reason: "Listener shutting down", drain: limit)
          end)

        {Process.monitor(pid), task}
      end

    for {ref, task} <- closing do
      receive do
        {:DOWN, ^ref, _, _, _} -> :ok
      after
        max(0, until - System.monotonic_time(:millisecond)) -> Process.exit(task, :kill)
      end
    end

    _ = :weft.stop(state.listeners)
  end

  defp accept(conn, state) do
    {peer, local} = {address(:weft.peername(conn)), address(:weft.sockname(conn))}
    meta = %{listener_pid: self(), peer_addr: peer, local_addr: local, dcid: nil}
    began = Telemetry.start([:listener, :accept], meta)
    {owner, tell} = owner(state.opts, peer)
    handler = Keyword.take(state.opts, [:handler, :handler_opts, :stream_recv_buffer_size, :drain_timeout])
    active = if state.opts[:connection_handler], do: state.opts[:active] || false, else: true

    with {:ok, pid} <-
           Weft.Application.start_connection(
             [accepted: true, controlling_process: owner, active: active] ++ handler
           ),
         :ok <- hand_over(conn, pid) do
      tell.(pid)
      send(pid, {:weft_take, conn})
      Process.monitor(pid)
      Telemetry.stop([:listener, :accept], began, Map.put(meta, :conn_pid, pid))
      %{state | conns: Map.put(state.conns, pid, true)}
    else
      {:error, reason} ->
        Telemetry.exception([:listener, :accept], began, :error, reason, [], meta)
        _ = :weft.close(conn)
        if state.opts[:connection_handler], do: Task.Supervisor.terminate_child(Weft.TaskSupervisor, owner)
        state
    end
  end

  defp hand_over(conn, pid) do
    with {:error, reason} <- :weft.controlling_process(conn, pid) do
      Process.exit(pid, :shutdown)
      {:error, reason}
    end
  end

  defp owner(opts, peer) do
    me = self()

    case opts[:connection_handler] do
      nil ->
        to = opts[:controlling_process]

        {if(opts[:handler], do: me, else: to),
         fn pid -> if opts[:active], do: send(to, {:quic_connection, me, pid, peer}) end}

      module ->
        {:ok, task} =
          Task.Supervisor.start_child(Weft.TaskSupervisor, fn ->
            receive do: ({:weft_serve, pid} -> module.handle_connection(pid, peer))
          end)

        {task, fn pid -> send(task, {:weft_serve, pid}) end}
    end
  end

  defp address({:ok, address}), do: address
  defp address(_), do: nil
end
