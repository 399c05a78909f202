defmodule Weft.MixProject do
  use Mix.Project

  # mix links priv into the build before the NIF is compiled, and only if it is there: in a fresh clone it is not.
  File.mkdir_p!(Path.expand("../erlang_nif/priv", __DIR__))

  def project do
    [
      app: :weft,
      version: "0.1.0",
      elixir: "~> 1.14",
      description: "QUIC for Elixir",
      elixirc_options: [warnings_as_errors: true, no_warn_undefined: [:telemetry]],
      deps: [{:weft_nif, path: "../erlang_nif"}]
    ]
  end

  def application do
    [mod: {Weft.Application, []}, extra_applications: [:logger]]
  end
end
