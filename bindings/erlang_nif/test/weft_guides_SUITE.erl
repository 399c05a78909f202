%% The examples of README.md and of guides/: each block of Erlang is run, in its order, with the variables of the blocks
%% before; modules are compiled; commands for a shell are run in an empty directory, and print what the page says.
-module(weft_guides_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

all() -> [readme, getting_started, modes, moving, distribution, distribution_commands].

init_per_testcase(_, Config) -> Config.

end_per_testcase(_, _) ->
    weft_test_util:assert_nothing_lives(),
    _ = application:stop(weft_nif),
    ok.

readme(_) -> run("README.md").
getting_started(_) -> run("guides/getting-started.md").
modes(_) -> run("guides/modes.md").
moving(_) -> run("guides/moving.md").
distribution(_) -> run("guides/distribution.md").

%% In a process of its own, which ends and with it what it has.
run(Page) ->
    Blocks = [Text || {<<"erlang">>, Text} <- blocks(Page)],
    ?assertNotEqual([], Blocks),
    {Pid, Monitor} = spawn_monitor(fun() -> lists:foldl(fun block/2, erl_eval:new_bindings(), Blocks) end),
    receive
        {'DOWN', Monitor, process, Pid, Reason} -> ?assertEqual(normal, Reason)
    after 60000 -> error(late)
    end.

block(Text, Bindings) ->
    {ok, Tokens, _} = erl_scan:string(binary_to_list(Text)),
    case Text of
        <<"-module", _/binary>> ->
            Forms = [begin {ok, Form} = erl_parse:parse_form(F), Form end || F <- split(Tokens, [], [])],
            {ok, Module, Binary} = compile:forms(Forms),
            {module, Module} = code:load_binary(Module, "guide", Binary),
            Bindings;
        _ ->
            lists:foldl(
                fun(Expressions, B) ->
                    {ok, Parsed} = erl_parse:parse_exprs(Expressions),
                    ct:log("~ts", [Text]),
                    {value, _, New} = erl_eval:exprs(Parsed, B),
                    New
                end,
                Bindings,
                split(Tokens, [], [])
            )
    end.

split([], [], Done) -> lists:reverse(Done);
split([{dot, _} = Dot | Rest], Part, Done) -> split(Rest, [], [lists:reverse([Dot | Part]) | Done]);
split([Token | Rest], Part, Done) -> split(Rest, [Token | Part], Done).

%% [{Language, Text}] of the fenced blocks.
blocks(Page) ->
    {ok, Text} = file:read_file(filename:join(root(filename:dirname(code:which(?MODULE))), Page)),
    {match, Found} = re:run(Text, "^```([a-z]*)\n(.*?)^```$", [global, multiline, dotall, {capture, all_but_first, binary}]),
    [{Language, Block} || [Language, Block] <- Found].

root(Dir) ->
    case filelib:is_dir(filename:join(Dir, "guides")) of
        true -> Dir;
        false when Dir =/= "/" -> root(filename:dirname(Dir))
    end.

%%% commands

distribution_commands(Config) ->
    Blocks = blocks("guides/distribution.md"),
    Script = iolist_to_binary([Text || {<<"sh">>, Text} <- Blocks]),
    Expected = iolist_to_binary([Text || {<<"text">>, Text} <- Blocks]),
    Dir = filename:join(?config(priv_dir, Config), "guide"),
    ok = filelib:ensure_dir(filename:join(Dir, "x")),
    {ok, U} = gen_udp:open(0),
    {ok, Epmd} = inet:port(U),
    ok = gen_udp:close(U),
    Env = [{"EBIN", filename:dirname(code:which(weft))}, {"ERL_EPMD_PORT", integer_to_list(Epmd)}],
    Port = open_port({spawn_executable, os:find_executable("bash")}, [
        {args, ["-e", "-c", Script]}, {cd, Dir}, {env, Env}, exit_status, binary, hide
    ]),
    try
        ?assertEqual({0, Expected}, output(Port, <<>>))
    after
        os:cmd("epmd -port " ++ integer_to_list(Epmd) ++ " -kill")
    end.

output(Port, Acc) ->
    receive
        {Port, {data, Data}} -> output(Port, <<Acc/binary, Data/binary>>);
        {Port, {exit_status, Status}} -> {Status, Acc}
    after 120000 -> error({late, Acc})
    end.
