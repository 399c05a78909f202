defmodule Weft.Application do
  @moduledoc false
  # The tree: one partition of connections for each scheduler, so that no supervisor is everybody's bottleneck. A
  # connection is :temporary; its crash is its own. What is alive at shutdown is closed by the connections themselves,
  # which trap exits: their peers are told, and do not wait for a time-out.
  use Application

  @impl true
  def start(_type, _args) do
    Weft.Telemetry.init()

    children = [
      {PartitionSupervisor, child_spec: DynamicSupervisor, name: Weft.ConnectionSupervisor},
      {Task.Supervisor, name: Weft.TaskSupervisor}
    ]

    Supervisor.start_link(children, strategy: :one_for_one, name: Weft.Supervisor)
  end

  @doc false
  def start_connection(opts) do
    via = {:via, PartitionSupervisor, {Weft.ConnectionSupervisor, make_ref()}}
    DynamicSupervisor.start_child(via, {Weft.Connection, opts})
  end
end
