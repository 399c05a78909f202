defmodule Weft.Listener do
  @moduledoc """
  A listener as a process. Options: `port`, `config` (needed), and who serves: `handler` with `handler_opts`; or
  `active: true`, which sends `{:quic_connection, listener, conn, peer}` to the controlling process and then the
  messages of `Weft.Handler.Default`; or `connection_handler`, a module whose `handle_connection(conn, peer)` runs in a
  process of its own for each connection, which ends with it. Also `name`, `ip`, `shutdown_timeout` (5000 ms).
  """
  use GenServer
  alias Weft.{Error, Telemetry}

  @callback handle_connection(conn :: pid(), peer :: term()) :: term()

  @doc "Starts it."
  @spec start_link(keyword()) :: GenServer.on_start()
  def start_link(opts) do
    opts = Keyword.put_new(opts, :controlling_process, self())
    GenServer.start_link(__MODULE__, opts, Keyword.take(opts, [:name]))
  end

  @doc "How many connections are alive."
  @spec connection_count(GenServer.server()) :: non_neg_integer()
  def connection_count(listener), do: GenServer.call(listener, :count)

  @doc "The address it is bound to."
  @spec local_address(GenServer.server()) ::
          {:ok, {:inet.ip_address(), :inet.port_number()}} | {:error, Error.t()}
  def local_address(listener), do: GenServer.call(listener, :address)

  @doc "Closes every connection and stops."
  @spec stop(GenServer.server()) :: :ok
  def stop(listener), do: GenServer.stop(listener, :normal, :infinity)

  @impl true
  def init(opts) do
    Process.flag(:trap_exit, true)
    {port, config} = {Keyword.fetch!(opts, :port), Keyword.fetch!(opts, :config)}

    unless opts[:handler] || opts[:active] || opts[:connection_handler],
      do: raise(KeyError, key: :handler, term: Keyword.keys(opts))

    options =
      Map.merge(%{active: 64, stream_active: :once, ip: opts[:ip] || :any}, Weft.Config.to_options(config))

    meta = %{port: port, handler: opts[:handler], listener_pid: self()}

    Telemetry.span([:listener, :start], meta, fn ->
      case :weft.listen(port, options) do
        {:ok, l} -> {{:ok, %{listener: l, opts: opts, conns: %{}}}, %{}, %{}}
        {:error, reason} -> {{:error, Error.new(:listen, reason)}, %{}, %{}}
      end
    end)
    |> case do
      {:ok, state} -> {:ok, state}
      {:error, error} -> {:stop, error}
    end
  rescue
    error in KeyError -> {:stop, {:listener_error, error}}
  end

  @impl true
  def handle_call(:count, _from, state), do: {:reply, map_size(state.conns), state}

  def handle_call(:address, _from, state),
    do: {:reply, Error.wrap(:weft.sockname(state.listener), :local_address), state}

  @impl true
  def handle_info({:weft_conn, _, conn}, state), do: {:noreply, accept(conn, state)}

  def handle_info({:weft_passive, _}, state) do
    :ok = :weft.setopts(state.listener, active: 64)
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
  def handle_info({:EXIT, _, reason}, state), do: {:stop, reason, state}
  def handle_info(_, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, state) do
    # Half of the time is for what is being sent; the rest for the connections' ends.
    limit = state.opts[:shutdown_timeout] || 5000
    until = System.monotonic_time(:millisecond) + limit
    limit = div(limit, 2)

    monitors =
      for {pid, _} <- state.conns do
        Task.Supervisor.start_child(Weft.TaskSupervisor, fn ->
          Weft.Connection.close(pid, reason: "Listener shutting down", drain: limit)
        end)

        Process.monitor(pid)
      end

    for ref <- monitors do
      receive do
        {:DOWN, ^ref, _, _, _} -> :ok
      after
        max(0, until - System.monotonic_time(:millisecond)) -> :ok
      end
    end

    _ = :weft.stop(state.listener)
  end

  defp accept(conn, state) do
    {peer, local} = {address(:weft.peername(conn)), address(:weft.sockname(conn))}
    meta = %{listener_pid: self(), peer_addr: peer, local_addr: local, dcid: nil}
    began = Telemetry.start([:listener, :accept], meta)
    {owner, tell} = owner(state.opts, peer)
    handler = Keyword.take(state.opts, [:handler, :handler_opts, :stream_recv_buffer_size])
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
