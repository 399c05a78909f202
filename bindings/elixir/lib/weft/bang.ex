defmodule Weft.Bang do
  @moduledoc false
  # Variants with `!`: `bang open_stream(pid :: pid(), type :: atom() \\ :bidirectional), id(), "example"` defines
  # open_stream!/1,2 with its spec and its documentation, from the function without `!` of the same module.

  defmacro bang({name, _, args}, result, example) do
    {variables, types} = args |> Enum.map(&split/1) |> Enum.unzip()
    bare = Enum.map(variables, &bare/1)
    arity = length(args)
    {example, []} = Code.eval_quoted(example, [], __CALLER__)

    doc =
      "The same as `#{name}/#{arity}`, but its value comes alone, and what went wrong raises `Weft.Error`.\n\n" <>
        (example |> String.split("\n") |> Enum.map_join("\n", &("    " <> &1)))

    quote do
      @doc unquote(doc)
      @spec unquote(:"#{name}!")(unquote_splicing(types)) :: unquote(result)
      def unquote(:"#{name}!")(unquote_splicing(variables)),
        do: Weft.Error.bang!(unquote(name)(unquote_splicing(bare)))
    end
  end

  defp split({:\\, meta, [{:"::", _, [variable, type]}, default]}),
    do: {{:\\, meta, [variable, default]}, type}

  defp split({:"::", _, [variable, type]}), do: {variable, type}
  defp bare({:\\, _, [variable, _]}), do: variable
  defp bare(variable), do: variable
end
