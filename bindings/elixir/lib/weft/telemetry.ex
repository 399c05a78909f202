defmodule Weft.Telemetry do
  @moduledoc """
  Events of `:telemetry`, when it is present as the application starts; it is no dependency, and without it nothing is measured.
  `[:weft, group, operation, :start | :stop | :exception]`; the guide on telemetry has the metadata and the measurements of each.

  | group | operations |
  |---|---|
  | `:connection` | `:connect`, `:handshake`, `:close` (`:start` and `:stop`) |
  | `:stream` | `:open`, `:send`, `:recv` (`:start` and `:stop`), `:shutdown` |
  | `:listener` | `:start`, `:accept`, `:connection_terminated` (only `:stop`) |

  Programs that use Weft may emit events of their own with the functions of this module.
  """

  @doc """
  Looks whether `:telemetry` is there. Called when the application starts; call it again when it was loaded later.

      iex> Weft.Telemetry.init()
      :ok
  """
  @spec init() :: :ok
  def init, do: :persistent_term.put(__MODULE__, Code.ensure_loaded?(:telemetry))

  @doc """
  Whether events are emitted.

      iex> is_boolean(Weft.Telemetry.enabled?())
      true
  """
  @spec enabled?() :: boolean()
  def enabled?, do: :persistent_term.get(__MODULE__, false)

  @doc """
  Emits `start`, with `system_time` and `monotonic_time` (native units); the result is for `stop/4` or `exception/6`.

      iex> began = Weft.Telemetry.start([:request], %{path: "/"})
      iex> is_integer(began)
      true
  """
  @spec start([atom()], map(), map()) :: integer()
  def start(event, metadata \\ %{}, measurements \\ %{}) do
    now = System.monotonic_time()

    if enabled?() do
      times = %{system_time: System.system_time(), monotonic_time: now}
      execute(event ++ [:start], Map.merge(measurements, times), metadata)
    end

    now
  end

  @doc """
  Emits `stop` with `duration`, the time since `start/3`, and `monotonic_time` (native units).

      iex> began = Weft.Telemetry.start([:request])
      iex> Weft.Telemetry.stop([:request], began, %{path: "/"}, %{bytes: 5})
      :ok
  """
  @spec stop([atom()], integer(), map(), map()) :: :ok
  def stop(event, start_time, metadata \\ %{}, measurements \\ %{}) do
    if enabled?(), do: execute(event ++ [:stop], Map.merge(measurements, since(start_time)), metadata)
    :ok
  end

  @doc """
  Emits `exception` with the duration since `start/3`, and what happened: `kind`, `reason` and `stacktrace` are added to the metadata.

      iex> began = Weft.Telemetry.start([:request])
      iex> Weft.Telemetry.exception([:request], began, :error, :timeout, [])
      :ok
  """
  @spec exception([atom()], integer(), atom(), term(), list(), map()) :: :ok
  def exception(event, start_time, kind, reason, stacktrace, metadata \\ %{}) do
    if enabled?() do
      metadata = Map.merge(metadata, %{kind: kind, reason: reason, stacktrace: stacktrace})
      execute(event ++ [:exception], since(start_time), metadata)
    end

    :ok
  end

  @doc """
  Emits an event without phases.

      iex> Weft.Telemetry.event([:request, :seen], %{count: 1}, %{})
      :ok
  """
  @spec event([atom()], map(), map()) :: :ok
  def event(event, measurements, metadata) do
    if enabled?(), do: execute(event, measurements, metadata)
    :ok
  end

  @doc """
  Emits `start`, calls the function, and emits `stop` or `exception`. The function returns `{result, measurements,
  metadata}`; a result `{:error, reason}` is an exception of kind `:error`.

      iex> Weft.Telemetry.span([:stream, :open], %{}, fn -> {{:ok, 4}, %{}, %{stream_id: 4}} end)
      {:ok, 4}
  """
  @spec span([atom()], map(), (() -> {term(), map(), map()})) :: term()
  def span(event, metadata, fun) do
    began = start(event, metadata)

    try do
      fun.()
    rescue
      error ->
        exception(event, began, :error, error, __STACKTRACE__, metadata)
        reraise error, __STACKTRACE__
    else
      {{:error, reason} = result, _measurements, more} ->
        exception(event, began, :error, reason, [], Map.merge(metadata, more))
        result

      {result, measurements, more} ->
        stop(event, began, Map.merge(metadata, more), measurements)
        result
    end
  end

  defp since(start) do
    now = System.monotonic_time()
    %{duration: now - start, monotonic_time: now}
  end

  defp execute(event, measurements, metadata), do: :telemetry.execute([:weft | event], measurements, metadata)
end
