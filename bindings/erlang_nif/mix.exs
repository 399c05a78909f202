defmodule WeftNif.MixProject do
  use Mix.Project

  def project do
    [
      app: :weft_nif,
      version: "0.1.0",
      language: :erlang,
      compilers: [:weft_native | Mix.compilers()],
      erlc_options: [:debug_info],
      deps: []
    ]
  end

  def application do
    [
      mod: {:weft_app, []},
      registered: [:weft_sup, :weft_engines],
      extra_applications: [:crypto, :public_key]
    ]
  end
end

defmodule Mix.Tasks.Compile.WeftNative do
  @moduledoc "Builds priv/weft_nif.so with CMake."
  use Mix.Task.Compiler

  @impl true
  def run(_args) do
    File.mkdir_p!("priv")

    case System.cmd("cmake", ["-P", "c_src/build.cmake"], stderr_to_stdout: true) do
      {_, 0} ->
        # Mix has linked priv into the build already, if there was one: in a fresh checkout there was not.
        Mix.Project.build_structure(Mix.Project.config())
        {:ok, []}

      {text, _} -> Mix.raise(text)
    end
  end
end
