defmodule Weft.DocsTest do
  # What is said about the package holds: every public function is documented, with a type and an example; the examples
  # and the guides run; every function that they name is there.
  use Weft.Case

  @root Path.expand("..", __DIR__)

  defp modules do
    {:ok, modules} = :application.get_key(:weft, :modules)
    for m <- modules, match?({:docs_v1, _, _, _, %{}, _, _}, Code.fetch_docs(m)), do: m
  end

  defp docs(module) do
    {:docs_v1, _, _, _, %{"en" => text}, _, docs} = Code.fetch_docs(module)

    {text,
     for({{kind, name, arity}, _, _, doc, meta} <- docs, doc != :hidden, do: {kind, name, arity, doc, meta})}
  end

  test "all modules that are meant for others have a page" do
    expected =
      [Weft, Weft.Config, Weft.Connection, Weft.Error, Weft.Handler, Weft.Handler.Default] ++
        [Weft.Listener, Weft.Stream, Weft.Telemetry]

    assert Enum.sort(modules()) == Enum.sort(expected)
  end

  test "every public function and callback has a text with an example, and a type" do
    lacking =
      for module <- modules(),
          {:ok, specs} = Code.Typespec.fetch_specs(module),
          specs = MapSet.new(specs, &elem(&1, 0)),
          {kind, name, arity, doc, _} <- elem(docs(module), 1),
          kind in [:function, :macro, :callback],
          {name, arity} != {:exception, 1},
          lack = lack(doc, kind != :function or {name, arity} in specs),
          do: "#{inspect(module)}.#{name}/#{arity}: #{lack}"

    assert lacking == []
  end

  defp lack(%{"en" => text}, true), do: if(text =~ ~r/^    \S/m, do: nil, else: "no example")
  defp lack(%{}, false), do: "no @spec"
  defp lack(_, _), do: "no @doc"

  # Blocks of lines with an indentation of four: what is not a doctest.
  defp blocks(text) do
    for block <- Regex.scan(~r/(?:^    .*\n?|^\n(?=    ))+/m, text <> "\n"),
        code = block |> hd() |> String.replace(~r/^    /m, "") |> String.trim(),
        code != "" and not (code =~ "iex>"),
        do: code
  end

  test "the examples run" do
    slow_to_acknowledge = Config.set_max_ack_delay(server(), 16_000)
    {_, port} = listen(handler: Weft.EchoHandler, config: slow_to_acknowledge)

    ran =
      for module <- [Weft, Weft.Connection, Weft.Stream, Weft.Listener, Weft.Handler],
          {moduledoc, docs} = docs(module),
          {name, text} <- [
            {:module, moduledoc} | for({_, name, _, %{"en" => text}, _} <- docs, do: {name, text})
          ],
          code <- blocks(text) do
        run(code, port, "#{inspect(module)}.#{name}")
      end

    assert length(ran) > 70
  end

  # A callback alone is no program: it is put into a module.
  defp run("def " <> _ = code, _port, name) do
    Code.eval_string("defmodule Weft.Example#{System.unique_integer([:positive])} do\n#{code}\nend", [],
      file: name
    )
  end

  defp run(code, port, name) do
    Task.async(fn ->
      {conn, passive} = {connect(port, host: "localhost"), connect(port, active: false)}
      if code =~ ~r/migrate!|update_keys!/, do: until(fn -> Connection.migrate(conn) == :ok end)
      listener = Listener.start_link!(port: 0, ip: :loopback, config: server(), handler: Weft.EchoHandler)
      id = if code =~ ~r/\bid\b/, do: Connection.open_stream!(conn), else: nil

      binding = [
        conn: conn,
        passive: passive,
        id: id,
        port: port,
        config: client(),
        server: server(),
        listener: listener
      ]

      try do
        Code.eval_string(code, binding, file: name)
      rescue
        error -> flunk("#{name}: #{Exception.message(error)}\n#{code}")
      end
    end)
    |> Task.await(60_000)
  end

  defp guides, do: Path.wildcard(@root <> "/guides/*.md") ++ [@root <> "/README.md"]

  test "the guide for beginners runs, from its first line to its last" do
    text = File.read!(@root <> "/guides/getting_started.md")
    code = for [_, code] <- Regex.scan(~r/^```elixir\n(.*?)^```/ms, text), do: code
    assert length(code) >= 2
    {answer, _} = Code.eval_string(Enum.join(code, "\n"), [], file: "getting_started.md")
    assert answer == "hello"
  end

  test "guides: the code is Elixir; functions, setters and messages that they name are there" do
    {:docs_v1, _, _, _, %{"en" => messages}, _, _} = Code.fetch_docs(Weft.Handler.Default)

    for file <- guides(), text = File.read!(file) do
      for [_, code] <- Regex.scan(~r/^```elixir\n(.*?)^```/ms, text),
          do: Code.string_to_quoted!(code, file: file)

      for [all, module, name | arity] <-
            Regex.scan(~r/\b(Weft(?:\.[A-Z]\w+)*)\.([a-z]\w*[?!]?)(?:\/(\d))?/, text) do
        exports = Module.concat([module]).module_info(:exports)
        arities = for {n, a} <- exports, to_string(n) == name, do: to_string(a)

        assert arities != [] and (arity == [] or hd(arity) in arities),
               "#{Path.basename(file)}: #{all} is not there"
      end

      for [name] <- Regex.scan(~r/:quic_\w+/, text), name != ":quic_path_created" do
        assert messages =~ name or name == ":quic_connection", "#{Path.basename(file)}: nobody sends #{name}"
      end
    end
  end
end
