defmodule Weft.Config do
  @moduledoc """
  What a connection or a listener is configured with: built by setters, each of which checks its value against the
  table of options and raises `Weft.Error` that names what was allowed.

      iex> config = Weft.Config.new!() |> Weft.Config.set_application_protos(["echo"]) |> Weft.Config.verify_peer(false)
      iex> config.options.alpn
      ["echo"]
      iex> Weft.Config.set_ack_delay_exponent(config, 21)
      ** (Weft.Error) set_ack_delay_exponent: ack_delay_exponent: 21 is not allowed, 0 to 20 is

  Besides the setters documented one by one there is `set_<name>` for every option of the table (`:weft.options()`),
  and `set/3` for those and for the TLS options of the Erlang API.
  """
  alias Weft.Error

  @type t :: %__MODULE__{options: map()}
  defstruct options: %{}

  @doc "An empty configuration. Version 0 lets the table decide; 1 and 2 are QUIC version 1 and version 2."
  @spec new(0..2) :: {:ok, t()} | {:error, Error.t()}
  def new(version \\ 0)
  def new(0), do: {:ok, %__MODULE__{}}
  def new(1), do: {:ok, set(%__MODULE__{}, :version, "v1")}
  def new(2), do: {:ok, set(%__MODULE__{}, :version, "v2")}
  def new(other), do: {:error, Error.new(:new, {:options, "version #{inspect(other)} is not 0, 1 or 2"})}

  @doc "The same, or an exception."
  @spec new!(0..2) :: t()
  def new!(version \\ 0), do: Error.bang!(new(version))

  @doc "Sets any option by its name."
  @spec set(t(), atom(), term()) :: t()
  def set(config, name, value), do: put(config, :set, name, value)

  @doc "What the Erlang API is given."
  @spec to_options(t()) :: map()
  def to_options(%__MODULE__{options: options}), do: options

  @doc "Application protocols (ALPN), most wanted first."
  @spec set_application_protos(t(), [String.t()]) :: t()
  def set_application_protos(config, protos), do: put(config, :set_application_protos, :alpn, protos)

  @doc "Whether the peer's certificate is verified. A client's is unless told otherwise."
  @spec verify_peer(t(), boolean()) :: t()
  def verify_peer(config, true), do: put(config, :verify_peer, :verify, :verify_peer)
  def verify_peer(config, false), do: put(config, :verify_peer, :verify, :verify_none)
  def verify_peer(_config, other), do: refuse(:verify_peer, "#{inspect(other)} is neither true nor false")

  @doc "The certificate chain, a PEM file."
  @spec load_cert_chain_from_pem_file(t(), Path.t()) :: t()
  def load_cert_chain_from_pem_file(config, path),
    do: file(config, :load_cert_chain_from_pem_file, :certfile, path)

  @doc "The private key, a PEM file."
  @spec load_priv_key_from_pem_file(t(), Path.t()) :: t()
  def load_priv_key_from_pem_file(config, path),
    do: file(config, :load_priv_key_from_pem_file, :keyfile, path)

  @doc "Authorities to trust, a PEM file."
  @spec load_verify_locations_from_file(t(), Path.t()) :: t()
  def load_verify_locations_from_file(config, path),
    do: file(config, :load_verify_locations_from_file, :cacertfile, path)

  @doc "Authorities to trust: all PEM files (`.pem`, `.crt`, `.cer`, and hashed names) of a directory."
  @spec load_verify_locations_from_directory(t(), Path.t()) :: t()
  def load_verify_locations_from_directory(config, path) do
    operation = :load_verify_locations_from_directory

    case File.ls(path) do
      {:ok, names} ->
        pems =
          for name <- Enum.sort(names),
              name =~ ~r/\.(pem|crt|cer|\d+)$/,
              {:ok, text} <- [File.read(Path.join(path, name))],
              text =~ "BEGIN CERTIFICATE",
              do: text

        if pems == [], do: refuse(operation, "#{path} has no certificates")
        put(config, operation, :cacerts, Enum.join(pems, "\n"))

      {:error, reason} ->
        refuse(operation, "#{path}: #{:file.format_error(reason)}")
    end
  end

  @doc "The system's authorities are trusted; a client that is told of no others does so anyway."
  @spec load_system_ca_certs(t()) :: t()
  def load_system_ca_certs(config), do: put(config, :load_system_ca_certs, :system_cacerts, true)

  @doc "`:cubic`, `:reno` (`:newreno`) or `:bbr` (`:bbr2` is the same: there is one BBR)."
  @spec set_cc_algorithm(t(), atom() | String.t()) :: t()
  def set_cc_algorithm(config, name) do
    name = %{"reno" => "newreno", "bbr2" => "bbr"} |> Map.get(to_string(name), to_string(name))
    put(config, :set_cc_algorithm, :congestion_control, name)
  end

  @doc "Datagrams (RFC 9221), and how many may wait."
  @spec enable_dgram(t(), boolean(), pos_integer(), pos_integer()) :: t()
  def enable_dgram(config, enabled, recv_queue_len \\ 1000, send_queue_len \\ 1000)

  def enable_dgram(config, enabled, recv, send)
      when is_boolean(enabled) and is_integer(recv) and is_integer(send) do
    config
    |> put(:enable_dgram, :max_datagram_frame_size, if(enabled, do: 65_535, else: 0))
    |> put(:enable_dgram, :datagram_queue_count, max(recv, send))
  end

  def enable_dgram(_config, enabled, recv, send),
    do: refuse(:enable_dgram, "#{inspect({enabled, recv, send})} is not a boolean and two lengths of queues")

  @doc "Path MTU discovery; without it datagrams of 1200 bytes are sent."
  @spec discover_pmtu(t(), boolean()) :: t()
  def discover_pmtu(config, true), do: %{config | options: Map.delete(config.options, :send_udp_payload_size)}
  def discover_pmtu(config, false), do: put(config, :discover_pmtu, :send_udp_payload_size, 1200)
  def discover_pmtu(_config, other), do: refuse(:discover_pmtu, "#{inspect(other)} is neither true nor false")

  @doc "Writes TLS secrets to a file, by default the one that SSLKEYLOGFILE names, for Wireshark."
  @spec log_keys(t(), Path.t() | nil) :: t()
  def log_keys(config, path \\ System.get_env("SSLKEYLOGFILE"))
  def log_keys(_config, nil), do: refuse(:log_keys, "no file given, and SSLKEYLOGFILE is not set")
  def log_keys(config, path), do: put(config, :log_keys, :keylog_file, path)

  @doc "Server: the secret of session tickets, 32 bytes; the same on all servers of a fleet."
  @spec set_ticket_key(t(), <<_::256>>) :: t()
  def set_ticket_key(config, key), do: put(config, :set_ticket_key, :ticket_secret, key)

  @doc "Connection IDs are never used again here: only `true` is possible."
  @spec set_disable_dcid_reuse(t(), true) :: t()
  def set_disable_dcid_reuse(config, true), do: config

  def set_disable_dcid_reuse(_config, _),
    do: refuse(:set_disable_dcid_reuse, "connection IDs are never used again")

  @doc "Refused: pacing follows the congestion window; it has no limit of its own."
  @spec set_max_pacing_rate(t(), term()) :: no_return()
  def set_max_pacing_rate(_config, _rate),
    do: refuse(:set_max_pacing_rate, "pacing follows the congestion window; there is no other limit")

  @doc "Refused: tokens of stateless resets are derived from the engine's key, one for each connection ID."
  @spec set_stateless_reset_token(t(), term()) :: no_return()
  def set_stateless_reset_token(_config, _token),
    do: refuse(:set_stateless_reset_token, "tokens are derived for each connection ID")

  # Names that differ from the table's.
  for {setter, name} <- [
        set_max_recv_udp_payload_size: :max_udp_payload_size,
        set_max_send_udp_payload_size: :send_udp_payload_size,
        set_initial_max_streams_bidi: :initial_max_streams_bidi,
        grease: :grease,
        enable_early_data: :early_data,
        enable_hystart: :hystart,
        enable_pacing: :pacing,
        set_max_amplification_factor: :amplification_limit,
        set_initial_congestion_window_packets: :initial_window,
        set_max_connection_window: :max_data_window,
        set_max_stream_window: :max_stream_data_window
      ] do
    @doc "Sets `#{name}` of the table."
    @spec unquote(setter)(t(), term()) :: t()
    def unquote(setter)(config, value), do: put(config, unquote(setter), unquote(name), value)
  end

  @doc "Turns it on."
  @spec enable_early_data(t()) :: t()
  def enable_early_data(config), do: enable_early_data(config, true)

  # The whole table. Read while this is compiled: the Erlang application is compiled before.
  for {name, {_type, _default, _least, _greatest, _choices, text}} <- :weft.options(),
      setter = :"set_#{name}",
      not Module.defines?(__MODULE__, {setter, 2}) do
    @doc "Option `#{name}`: #{text}."
    @spec unquote(setter)(t(), term()) :: t()
    def unquote(setter)(config, value), do: put(config, unquote(setter), unquote(name), value)
  end

  defp file(config, operation, name, path) do
    case File.stat(path) do
      {:ok, %{type: :regular}} -> %{config | options: Map.put(config.options, name, path)}
      {:ok, %{type: type}} -> refuse(operation, "#{path} is a #{type}")
      {:error, reason} -> refuse(operation, "#{path}: #{:file.format_error(reason)}")
    end
  end

  # One option at a time: valid for a client or for a server.
  defp put(%__MODULE__{options: options} = config, operation, name, value) do
    in_table(operation, name, value)

    with {:error, client} <- :weft_options.parse(:connect, %{name => value}, :client),
         {:error, server} <- :weft_options.parse(:listen, %{name => value}, :server) do
      foreign = elem(client, 1) =~ "(it is a server's)"
      raise Error.new(operation, if(foreign, do: server, else: client))
    end

    %{config | options: Map.put(options, name, value)}
  end

  # The core checks numbers when all options are there; said at once, it is known which setter it was.
  defp in_table(operation, name, value) when is_integer(value) do
    case :weft.options() do
      %{^name => {type, _, least, greatest, _, _}} ->
        unit = if type == :time, do: 1_000_000, else: 1

        unless (value * unit) in least..greatest do
          allowed = "#{div(least, unit)} to #{div(greatest, unit)}"
          refuse(operation, "#{name}: #{value} is not allowed, #{allowed} is")
        end

      _ ->
        :ok
    end
  end

  defp in_table(_operation, _name, _value), do: :ok

  @spec refuse(atom(), String.t()) :: no_return()
  defp refuse(operation, text), do: raise(Error.new(operation, {:options, text}))

  defimpl Inspect do
    # Keys and secrets are not for logs.
    def inspect(%{options: options}, opts) do
      shown = Map.drop(options, [:key, :ticket_secret, :cacerts, :session, :token])
      Inspect.Algebra.concat(["#Weft.Config<", Inspect.Algebra.to_doc(shown, opts), ">"])
    end
  end
end
