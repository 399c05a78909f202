defmodule Weft.Config do
  @moduledoc """
  What a connection or a listener is configured with: built by setters, each of which checks its value against the
  table of options and raises `Weft.Error` that names what was allowed.

      iex> config = Weft.Config.new!() |> Weft.Config.set_application_protos(["echo"]) |> Weft.Config.verify_peer(false)
      iex> Weft.Config.get(config, :alpn)
      ["echo"]
      iex> Weft.Config.set_ack_delay_exponent(config, 21)
      ** (Weft.Error) set_ack_delay_exponent: ack_delay_exponent: 21 is not allowed, 0 to 20 is

  Besides the setters documented one by one there is `set_<name>` for every option of the table (`:weft.options()`),
  and `set/3` for those and for the TLS options of the Erlang API. Times are milliseconds, `:infinity`, `{10, :s}` or texts like
  `"10s"`; sizes are bytes, or texts like `"4MiB"`.
  """
  alias Weft.Error

  @type t :: %__MODULE__{options: map()}
  defstruct options: %{}

  @doc """
  An empty configuration: each option has its default. Version 0 lets the table decide; 1 and 2 are QUIC version 1 (RFC 9000) and
  version 2 (RFC 9369). Error: `{:options, text}` for another version.

      iex> {:ok, config} = Weft.Config.new(2)
      iex> Weft.Config.get(config, :version)
      "v2"
  """
  @spec new(0..2) :: {:ok, t()} | {:error, Error.t()}
  def new(version \\ 0)
  def new(0), do: {:ok, %__MODULE__{}}
  def new(1), do: {:ok, set(%__MODULE__{}, :version, "v1")}
  def new(2), do: {:ok, set(%__MODULE__{}, :version, "v2")}
  def new(other), do: {:error, Error.new(:new, {:options, "version #{inspect(other)} is not 0, 1 or 2"})}

  @doc """
  The same, or an exception.

      iex> Weft.Config.new!(3)
      ** (Weft.Error) new: version 3 is not 0, 1 or 2
  """
  @spec new!(0..2) :: t()
  def new!(version \\ 0), do: Error.bang!(new(version))

  @doc """
  Sets any option by its name: one of the table, one of TLS (`self_signed`, `pins`, `ciphers`, `server_name_indication`, ...; see
  `weft_options` of the Erlang application), or one of a listener's socket (`reuse_port`, `ipv6_only`). Raises `Weft.Error` for an
  option that nobody knows and for a value that is not allowed.

      iex> config = Weft.Config.set(Weft.Config.new!(), :self_signed, "localhost")
      iex> Weft.Config.get(config, :self_signed)
      "localhost"
  """
  @spec set(t(), atom(), term()) :: t()
  def set(config, name, value), do: put(config, :set, name, value)

  @doc """
  What an option was set to; `nil` when it was not set, and its default holds.

      iex> Weft.Config.new!() |> Weft.Config.set_keep_alive(15_000) |> Weft.Config.get(:keep_alive)
      15000
  """
  @spec get(t(), atom()) :: term()
  def get(%__MODULE__{options: options}, name), do: Map.get(options, name)

  @doc """
  What the Erlang API, `:weft.connect/3` or `:weft.listen/2`, is given.

      iex> Weft.Config.new!() |> Weft.Config.verify_peer(false) |> Weft.Config.to_options()
      %{verify: :verify_none}
  """
  @spec to_options(t()) :: map()
  def to_options(%__MODULE__{options: options}), do: options

  @doc """
  Application protocols (ALPN, RFC 7301), most wanted first: texts of 1 to 255 bytes. Both sides need one in common; without, the
  handshake fails with code 376 (0x100 and the TLS alert no_application_protocol, RFC 9001 8.1).

      iex> Weft.Config.set_application_protos(Weft.Config.new!(), ["h3", "echo"]) |> Weft.Config.get(:alpn)
      ["h3", "echo"]
  """
  @spec set_application_protos(t(), [String.t()]) :: t()
  def set_application_protos(config, protos), do: put(config, :set_application_protos, :alpn, protos)

  @doc """
  Whether the peer's certificate is verified, and must be there. A server's is, by a client, unless told otherwise; a client's is
  not asked for, unless this is `true`.

      iex> Weft.Config.verify_peer(Weft.Config.new!(), false) |> Weft.Config.get(:verify)
      :verify_none
  """
  @spec verify_peer(t(), boolean()) :: t()
  def verify_peer(config, true), do: put(config, :verify_peer, :verify, :verify_peer)
  def verify_peer(config, false), do: put(config, :verify_peer, :verify, :verify_none)
  def verify_peer(_config, other), do: refuse(:verify_peer, "#{inspect(other)} is neither true nor false")

  @doc """
  The certificate chain, a PEM file. Raises `Weft.Error` when there is no such file; what is in it is looked at by the connection or the
  listener.

      iex> Weft.Config.load_cert_chain_from_pem_file(Weft.Config.new!(), "/nowhere.pem")
      ** (Weft.Error) load_cert_chain_from_pem_file: /nowhere.pem: no such file or directory
  """
  @spec load_cert_chain_from_pem_file(t(), Path.t()) :: t()
  def load_cert_chain_from_pem_file(config, path),
    do: file(config, :load_cert_chain_from_pem_file, :certfile, path)

  @doc """
  The private key, a PEM file. Raises `Weft.Error` when there is no such file; what is in it is looked at by the connection or the
  listener.

      iex> Weft.Config.load_priv_key_from_pem_file(Weft.Config.new!(), "/nowhere.pem")
      ** (Weft.Error) load_priv_key_from_pem_file: /nowhere.pem: no such file or directory
  """
  @spec load_priv_key_from_pem_file(t(), Path.t()) :: t()
  def load_priv_key_from_pem_file(config, path),
    do: file(config, :load_priv_key_from_pem_file, :keyfile, path)

  @doc """
  Authorities to trust, a PEM file. Raises `Weft.Error` when there is no such file; what is in it is looked at by the connection or the
  listener.

      iex> Weft.Config.load_verify_locations_from_file(Weft.Config.new!(), "/nowhere.pem")
      ** (Weft.Error) load_verify_locations_from_file: /nowhere.pem: no such file or directory
  """
  @spec load_verify_locations_from_file(t(), Path.t()) :: t()
  def load_verify_locations_from_file(config, path),
    do: file(config, :load_verify_locations_from_file, :cacertfile, path)

  @doc """
  Authorities to trust: all PEM files (`.pem`, `.crt`, `.cer`, and hashed names) of a directory. Raises `Weft.Error` when there is no
  such directory, or no certificate in it.

      iex> Weft.Config.load_verify_locations_from_directory(Weft.Config.new!(), "/nowhere")
      ** (Weft.Error) load_verify_locations_from_directory: /nowhere: no such file or directory
  """
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

  @doc """
  The system's authorities are trusted, beside others that are named. A client that is told of no others trusts them anyway.

      iex> Weft.Config.load_system_ca_certs(Weft.Config.new!()) |> Weft.Config.get(:system_cacerts)
      true
  """
  @spec load_system_ca_certs(t()) :: t()
  def load_system_ca_certs(config), do: put(config, :load_system_ca_certs, :system_cacerts, true)

  @doc """
  The congestion controller: `:cubic` (RFC 9438), `:reno` or `:newreno` (RFC 9002 7), `:bbr` (BBRv3; `:bbr2` is the same: there is one
  BBR). Texts are taken, too.

      iex> Weft.Config.set_cc_algorithm(Weft.Config.new!(), :bbr2) |> Weft.Config.get(:congestion_control)
      "bbr"
  """
  @spec set_cc_algorithm(t(), atom() | String.t()) :: t()
  def set_cc_algorithm(config, name) do
    name = %{"reno" => "newreno", "bbr2" => "bbr"} |> Map.get(to_string(name), to_string(name))
    put(config, :set_cc_algorithm, :congestion_control, name)
  end

  @doc """
  Whether the peer may send datagrams (RFC 9221), and how many may wait; the larger of the two lengths holds for both directions.
  Bytes are limited by `set_datagram_receive_queue/2` and `set_datagram_send_queue/2`.

      iex> config = Weft.Config.enable_dgram(Weft.Config.new!(), true, 100, 50)
      iex> {Weft.Config.get(config, :max_datagram_frame_size), Weft.Config.get(config, :datagram_queue_count)}
      {65535, 100}
  """
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

  @doc """
  Path MTU discovery (RFC 8899), which is on by default; without it no packet is larger than 1200 bytes.

      iex> Weft.Config.discover_pmtu(Weft.Config.new!(), false) |> Weft.Config.get(:send_udp_payload_size)
      1200
  """
  @spec discover_pmtu(t(), boolean()) :: t()
  def discover_pmtu(config, true), do: %{config | options: Map.delete(config.options, :send_udp_payload_size)}
  def discover_pmtu(config, false), do: put(config, :discover_pmtu, :send_udp_payload_size, 1200)
  def discover_pmtu(_config, other), do: refuse(:discover_pmtu, "#{inspect(other)} is neither true nor false")

  @doc """
  Writes TLS secrets to a file, by default the one that SSLKEYLOGFILE names, for Wireshark: whoever has the file can read
  everything. Raises `Weft.Error` when neither is there.

      iex> Weft.Config.log_keys(Weft.Config.new!(), "/tmp/keys.log") |> Weft.Config.get(:keylog_file)
      "/tmp/keys.log"
  """
  @spec log_keys(t(), Path.t() | nil) :: t()
  def log_keys(config, path \\ System.get_env("SSLKEYLOGFILE"))
  def log_keys(_config, nil), do: refuse(:log_keys, "no file given, and SSLKEYLOGFILE is not set")
  def log_keys(config, path), do: put(config, :log_keys, :keylog_file, path)

  @doc """
  Server: the secret of session tickets (RFC 8446 4.6.1), 32 bytes; the same on all servers of a fleet, so that a session of one is
  good for all.

      iex> config = Weft.Config.set_ticket_key(Weft.Config.new!(), :binary.copy("k", 32))
      iex> inspect(config)
      "#Weft.Config<%{}>"
  """
  @spec set_ticket_key(t(), <<_::256>>) :: t()
  def set_ticket_key(config, key), do: put(config, :set_ticket_key, :ticket_secret, key)

  @doc """
  Connection IDs are never used again here (RFC 9000 9.5): only `true` is possible.

      iex> Weft.Config.set_disable_dcid_reuse(Weft.Config.new!(), true) == Weft.Config.new!()
      true
  """
  @spec set_disable_dcid_reuse(t(), true) :: t()
  def set_disable_dcid_reuse(config, true), do: config

  def set_disable_dcid_reuse(_config, _),
    do: refuse(:set_disable_dcid_reuse, "connection IDs are never used again")

  @doc """
  Refused: pacing follows the congestion window (RFC 9002 7.7); it has no limit of its own.

      iex> Weft.Config.set_max_pacing_rate(Weft.Config.new!(), 1_000_000)
      ** (Weft.Error) set_max_pacing_rate: pacing follows the congestion window; there is no other limit
  """
  @spec set_max_pacing_rate(t(), term()) :: no_return()
  def set_max_pacing_rate(_config, _rate),
    do: refuse(:set_max_pacing_rate, "pacing follows the congestion window; there is no other limit")

  @doc """
  Refused: tokens of stateless resets are derived from the engine's key, one for each connection ID (RFC 9000 10.3.2).

      iex> Weft.Config.set_stateless_reset_token(Weft.Config.new!(), <<0::128>>)
      ** (Weft.Error) set_stateless_reset_token: tokens are derived for each connection ID
  """
  @spec set_stateless_reset_token(t(), term()) :: no_return()
  def set_stateless_reset_token(_config, _token),
    do: refuse(:set_stateless_reset_token, "tokens are derived for each connection ID")

  # The whole table, read while this is compiled: the Erlang application is compiled before. Some setters have other
  # names than the option has.
  table = :weft.options()

  documented = fn setter, name ->
    {type, default, least, greatest, choices, text} = Map.fetch!(table, name)
    scaled = &if(type == :time, do: div(&1, 1_000_000), else: &1)

    {what, value} =
      case type do
        :flag ->
          {"`true` or `false`; default `#{default == 1}`", default == 1}

        :choice ->
          {"#{Enum.map_join(choices, ", ", &"`#{&1}`")}; default `#{Enum.at(choices, default)}`", hd(choices)}

        :time ->
          {"Milliseconds, #{scaled.(least)} to #{scaled.(greatest)}; default #{scaled.(default)}",
           scaled.(default)}

        :bytes ->
          {"Bytes, #{least} to #{greatest}; default #{default}", default}

        :count ->
          {"A number, #{least} to #{greatest}; default #{default}", default}
      end

    """
    Option `#{name}` of the table (`docs/options.md`): #{text}. Raises `Weft.Error` for what is not allowed.

    #{what}.

        iex> Weft.Config.#{setter}(Weft.Config.new!(), #{inspect(value)}) |> Weft.Config.get(:#{name})
        #{inspect(value)}
    """
  end

  for {setter, name} <- [
        set_max_recv_udp_payload_size: :max_udp_payload_size,
        set_max_send_udp_payload_size: :send_udp_payload_size,
        grease: :grease,
        enable_early_data: :early_data,
        enable_hystart: :hystart,
        enable_pacing: :pacing,
        set_max_amplification_factor: :amplification_limit,
        set_initial_congestion_window_packets: :initial_window,
        set_max_connection_window: :max_data_window,
        set_max_stream_window: :max_stream_data_window
      ] do
    @doc documented.(setter, name)
    @spec unquote(setter)(t(), term()) :: t()
    def unquote(setter)(config, value), do: put(config, unquote(setter), unquote(name), value)
  end

  @doc """
  0-RTT (RFC 9001 4.6) is sent, or accepted.

      iex> Weft.Config.enable_early_data(Weft.Config.new!()) |> Weft.Config.get(:early_data)
      true
  """
  @spec enable_early_data(t()) :: t()
  def enable_early_data(config), do: enable_early_data(config, true)

  for {name, _} <- Enum.sort(table), setter = :"set_#{name}", not Module.defines?(__MODULE__, {setter, 2}) do
    @doc documented.(setter, name)
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
