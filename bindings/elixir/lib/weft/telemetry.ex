defmodule Weft.Telemetry do
  @moduledoc """
  Events of `:telemetry`, when it is present as the application starts; it is no dependency. `[:weft, group, operation,
  :start | :stop | :exception]`: group `:connection` with `:connect`, `:handshake`, `:close`; `:stream` with `:open`, `:send`,
  `:recv`, `:shutdown`; `:listener` with `:start`, `:accept`, and of `:connection_terminated` only `:stop`.
  """

  @doc "Looks whether `:telemetry` is there. Called when the application starts."
  @spec init() :: :ok
  def init, do: :persistent_term.put(__MODULE__, Code.ensure_loaded?(:telemetry))

  @doc "Whether events are emitted."
  @spec enabled?() :: boolean()
  def enabled?, do: :persistent_term.get(__MODULE__, false)

  @doc "Emits `start`; the result is for `stop/4` or `exception/6`."
  @spec start([atom()], map(), map()) :: integer()
  def start(event, metadata \\ %{}, measurements \\ %{}) do
    now = System.monotonic_time()

    if enabled?() do
      times = %{system_time: System.system_time(), monotonic_time: now}
      execute(event ++ [:start], Map.merge(measurements, times), metadata)
    end

    now
  end

  @doc "Emits `stop` with the duration since `start/3`."
  @spec stop([atom()], integer(), map(), map()) :: :ok
  def stop(event, start_time, metadata \\ %{}, measurements \\ %{}) do
    if enabled?(), do: execute(event ++ [:stop], Map.merge(measurements, since(start_time)), metadata)
    :ok
  end

  @doc "Emits `exception` with the duration since `start/3`, and what happened."
  @spec exception([atom()], integer(), atom(), term(), list(), map()) :: :ok
  def exception(event, start_time, kind, reason, stacktrace, metadata \\ %{}) do
    if enabled?() do
      metadata = Map.merge(metadata, %{kind: kind, reason: reason, stacktrace: stacktrace})
      execute(event ++ [:exception], since(start_time), metadata)
    end

    :ok
  end

  @doc "Emits an event without phases."
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
