%% Distribution over QUIC: nodes in VMs of their own.
-module(weft_dist_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

all() -> [ping, ticks, socket_options, bad_options, large_messages, many_messages, monitors_and_links, strangers_are_refused, monitors_across_a_rebinding, cluster].

init_per_suite(Config) ->
    Dir = ?config(priv_dir, Config),
    [{optfile, optfile(Dir, "own", authority())}, {strange, optfile(Dir, "strange", authority())} | Config].

end_per_suite(_) -> ok.

%%% nodes

authority() ->
    public_key:pkix_test_data(#{
        server_chain => chain(),
        client_chain => chain()
    }).

chain() ->
    Key = {key, {rsa, 2048, 65537}},
    San = {'Extension', {2, 5, 29, 17}, false, [{dNSName, "localhost"}]},
    #{root => [Key, {digest, sha256}], intermediates => [], peer => [Key, {digest, sha256}, {extensions, [San]}]}.

%% Server's and client's certificate, and both authorities, as files; and the file of options.
optfile(Dir, Name, #{server_config := Server, client_config := Client}) ->
    File = fun(What) -> filename:join(Dir, Name ++ "-" ++ What) end,
    Write = fun(What, Entries) ->
        ok = file:write_file(File(What), public_key:pem_encode([{T, D, not_encrypted} || {T, D} <- Entries])),
        File(What)
    end,
    Cas = [{'Certificate', C} || C <- proplists:get_value(cacerts, Server) ++ proplists:get_value(cacerts, Client)],
    Ca = Write("ca.pem", Cas),
    Side = fun(Which, Config) ->
        {Type, Key} = proplists:get_value(key, Config),
        #{
            certfile => Write(Which ++ ".pem", [{'Certificate', proplists:get_value(cert, Config)}]),
            keyfile => Write(Which ++ ".key", [{Type, Key}]),
            cacertfile => Ca
        }
    end,
    ok = file:write_file(File("options"), io_lib:format("~tp.~n", [{#{}, Side("server", Server), Side("client", Client)}])),
    File("options").

free_port() ->
    {ok, U} = gen_udp:open(0, [{ip, {127, 0, 0, 1}}]),
    {ok, Port} = inet:port(U),
    ok = gen_udp:close(U),
    Port.

start(Name, Port, Known, Optfile) ->
    Paths = [P || P <- code:get_path(), string:find(P, "weft") =/= nomatch] ++ [filename:dirname(code:which(?MODULE))],
    {ok, Peer, _} = peer:start_link(#{
        connection => standard_io,
        wait_boot => 60000,
        args => lists:append([["-pa", P] || P <- Paths]) ++
            [
                "-proto_dist", "weft", "-weft_dist_optfile", Optfile, "-epmd_module", "weft_test_epmd", "-sname", Name ++ "@localhost",
                "-setcookie", "weft", "-kernel", "inet_dist_listen_min", integer_to_list(Port),
                "-kernel", "net_setuptime", "60"
            ],
        env => [{"WEFT_TEST_PORT_" ++ N, integer_to_list(P)} || {N, P} <- Known]
    }),
    Peer.

call(Peer, M, F, A) -> peer:call(Peer, M, F, A, 60000).

%% Two nodes; the first finds the second at the port that Through makes of its own.
two(Config, Through) ->
    {A, B} = {free_port(), free_port()},
    Optfile = ?config(optfile, Config),
    Second = start("weft_b", B, [], Optfile),
    First = start("weft_a", A, [{"weft_b", Through(B)}], Optfile),
    {First, Second}.

two(Config) -> two(Config, fun(Port) -> Port end).

stop({A, B}) ->
    peer:stop(A),
    peer:stop(B).

-define(B, 'weft_b@localhost').

%%% cases

ping(Config) ->
    P = {A, B} = two(Config),
    pong = call(A, net_adm, ping, [?B]),
    [?B] = call(A, erlang, nodes, []),
    ['weft_a@localhost'] = call(B, erlang, nodes, []),
    ?B = call(A, erpc, call, [?B, erlang, node, []]),
    #{conns := 1} = call(A, weft, live, []),
    true = call(A, erlang, disconnect_node, [?B]),
    weft_test_util:wait(fun() -> call(B, erlang, nodes, []) =:= [] end),
    weft_test_util:wait(fun() -> maps:get(conns, call(B, weft, live, [])) =:= 0 end),
    stop(P).

%% A connection that says nothing lives on ticks, and goes when the other node gives none. The kernel's clock for them is
%% slow: here it is wound by hand.
ticks(Config) ->
    P = {A, B} = two(Config),
    pong = call(A, net_adm, ping, [?B]),
    Ticks = [tick_heard(B, A, ?B, 'weft_a@localhost') + tick_heard(A, B, 'weft_a@localhost', ?B) || _ <- lists:seq(1, 12)],
    ?assert(lists:sum(Ticks) >= 12),
    [?B] = call(A, erlang, nodes, []),
    weft_test_util:wait(fun() ->
        tick(A),
        call(A, erlang, nodes, []) =:= []
    end),
    stop(P).

tick(Node) -> call(Node, erlang, send, [net_kernel, tick]).

%% Node gives a tick, unless it has sent something else since its last (0). Other, which it calls Them and which calls it
%% Us, counts something received.
tick_heard(Node, Other, Us, Them) ->
    {Sent, Heard} = {counted(Node, Them, out), counted(Other, Us, in)},
    tick(Node),
    case counted(Node, Them, out) of
        Sent ->
            0;
        _ ->
            weft_test_util:wait(fun() -> counted(Other, Us, in) > Heard end),
            1
    end.

counted(Node, Of, What) ->
    {ok, Info} = call(Node, net_kernel, node_info, [Of]),
    proplists:get_value(What, Info).

socket_options(Config) ->
    P = {A, _} = two(Config),
    pong = call(A, net_adm, ping, [?B]),
    ok = call(A, net_kernel, setopts, [?B, []]),
    {ok, [{active, true}]} = call(A, net_kernel, getopts, [?B, [active]]),
    {error, {options, _}} = call(A, net_kernel, getopts, [?B, [nodelay]]),
    stop(P).

%% A node whose options are no options says what is wrong with them.
bad_options(Config) ->
    Dir = ?config(priv_dir, Config),
    [
        begin
            File = filename:join(Dir, Name),
            Text =:= none orelse (ok = file:write_file(File, Text)),
            Flag = if Name =:= "" -> ""; true -> " -weft_dist_optfile " ++ Name end,
            Said = os:cmd(
                "cd " ++ Dir ++ " && erl -noshell -sname weft_c@localhost -epmd_module weft_test_epmd -proto_dist weft" ++ Flag ++
                    lists:append([" -pa " ++ P || P <- [filename:dirname(code:which(M)) || M <- [weft, ?MODULE]]]) ++ " -s init stop"
            ),
            ?assertNotEqual(nomatch, string:find(Said, Expected), Said)
        end
     || {Name, Text, Expected} <- [
            {"", none, "-weft_dist_optfile FILE: needed"},
            {"none", none, "none: cannot be read"},
            {"broken", "#{a => ", "broken: line 1: syntax error"},
            {"list", "[].", "list: is neither a map"}
        ]
    ].

large_messages(Config) ->
    P = {A, _} = two(Config),
    Data = crypto:strong_rand_bytes(20000000),
    Md5 = erlang:md5(Data),
    Md5 = call(A, erpc, call, [?B, erlang, md5, [Data]]),
    Back = call(A, erpc, call, [?B, binary, copy, [<<"weft">>, 3000000]]),
    12000000 = byte_size(Back),
    Terms = lists:seq(1, 300000),
    ?assertEqual(Terms, call(A, erpc, call, [?B, lists, reverse, [lists:reverse(Terms)]])),
    stop(P).

%% In their order, from many processes at once.
many_messages(Config) ->
    P = {A, _} = two(Config),
    ok = call(A, ?MODULE, flood, [?B, 20, 5000]),
    stop(P).

flood(Node, Processes, Count) ->
    Self = self(),
    [
        spawn_link(fun() ->
            Me = self(),
            Counter = spawn_link(Node, ?MODULE, counter, [Me, Count]),
            [Counter ! {N, self()} || N <- lists:seq(1, Count)],
            receive {in_order, Counter} -> Self ! done end
        end)
     || _ <- lists:seq(1, Processes)
    ],
    [receive done -> ok after 50000 -> error(late) end || _ <- lists:seq(1, Processes)],
    ok.

counter(Parent, Count) ->
    [receive {M, _} -> N = M end || N <- lists:seq(1, Count)],
    Parent ! {in_order, self()}.

monitors_and_links(Config) ->
    P = {A, B} = two(Config),
    {process, noproc} = call(A, ?MODULE, watch, [?B, fun(Pid) -> exit(Pid, kill) end, 0]),
    {process, noconnection} = call(A, ?MODULE, watch, [?B, fun(_) -> erlang:disconnect_node(?B) end, 0]),
    _ = B,
    stop(P).

%% What a monitor of a process there says, after Fun was done to it.
watch(Node, Fun, After) ->
    pong = net_adm:ping(Node),
    Pid = spawn(Node, timer, sleep, [infinity]),
    Monitor = monitor(process, Pid),
    receive {'DOWN', Monitor, _, _, Early} -> error({early, Early}) after After -> ok end,
    Fun(Pid),
    receive
        {'DOWN', Monitor, What, Pid, killed} -> {What, noproc};
        {'DOWN', Monitor, What, Pid, Reason} -> {What, Reason}
    after 20000 -> error(not_told)
    end.

strangers_are_refused(Config) ->
    {A, B} = {free_port(), free_port()},
    Second = start("weft_b", B, [], ?config(optfile, Config)),
    First = start("weft_a", A, [{"weft_b", B}], ?config(strange, Config)),
    pang = call(First, net_adm, ping, [?B]),
    [] = call(Second, erlang, nodes, []),
    stop({First, Second}).

%% A relay between the two changes its port, as a NAT does: the connection stays, and monitors say nothing.
monitors_across_a_rebinding(Config) ->
    Self = self(),
    P = {A, _} = two(Config, fun(Port) ->
        spawn_link(fun() -> relay_start(Self, Port) end),
        receive {relay, Front} -> Front end
    end),
    pong = call(A, net_adm, ping, [?B]),
    Far = call(A, erlang, spawn, [?B, timer, sleep, [infinity]]),
    Watcher = call(A, erlang, spawn, [?MODULE, watcher, [Far]]),
    relay ! rebind,
    Data = binary:copy(<<"rebound">>, 300000),
    Data = call(A, erpc, call, [?B, erlang, binary_part, [Data, {0, byte_size(Data)}]]),
    relay ! rebind,
    pong = call(A, net_adm, ping, [?B]),
    ?B = call(A, erpc, call, [?B, erlang, node, []]),
    watching = call(A, ?MODULE, ask_watcher, [Watcher]),
    [?B] = call(A, erlang, nodes, []),
    true = call(A, erlang, exit, [Far, kill]),
    weft_test_util:wait(fun() -> call(A, ?MODULE, ask_watcher, [Watcher]) =:= {down, killed} end),
    stop(P).

watcher(Far) ->
    Monitor = monitor(process, Far),
    watcher_loop(Monitor, watching).

watcher_loop(Monitor, State) ->
    receive
        {'DOWN', Monitor, _, _, Reason} -> watcher_loop(Monitor, {down, Reason});
        {ask, From} -> From ! {watcher, State}, watcher_loop(Monitor, State)
    end.

ask_watcher(Watcher) ->
    Watcher ! {ask, self()},
    receive {watcher, State} -> State after 5000 -> late end.

relay_start(Parent, Port) ->
    register(relay, self()),
    {ok, Front} = gen_udp:open(0, [binary, {ip, {127, 0, 0, 1}}, {active, true}, {recbuf, 4000000}]),
    {ok, FrontPort} = inet:port(Front),
    Parent ! {relay, FrontPort},
    relay(Front, back(), undefined, Port).

back() ->
    {ok, Back} = gen_udp:open(0, [binary, {ip, {127, 0, 0, 1}}, {active, true}, {recbuf, 4000000}]),
    Back.

relay(Front, Back, Client, Port) ->
    receive
        {udp, Front, Ip, From, Data} ->
            _ = gen_udp:send(Back, {127, 0, 0, 1}, Port, Data),
            relay(Front, Back, {Ip, From}, Port);
        {udp, Back, _, _, Data} ->
            {Ip, To} = Client,
            _ = gen_udp:send(Front, Ip, To, Data),
            relay(Front, Back, Client, Port);
        {udp, _, _, _, _} ->
            relay(Front, Back, Client, Port);
        rebind ->
            New = back(),
            ok = gen_udp:close(Back),
            relay(Front, New, Client, Port)
    end.

%% Listeners of a cluster, in a group, and what each node has.
cluster(Config) ->
    P = {A, B} = two(Config),
    [{ok, _} = call(N, application, ensure_all_started, [weft_nif]) || N <- [A, B]],
    pong = call(A, net_adm, ping, [?B]),
    [ok = call(N, ?MODULE, serve, []) || N <- [A, B]],
    weft_test_util:wait(fun() -> length(call(A, weft_cluster, members, [front])) =:= 2 end),
    ?assertEqual(#{'weft_a@localhost' => 0, ?B => 0}, call(A, weft_cluster, count, [front])),
    [{_, Port}] = [Address || {Node, Address} <- call(B, weft_cluster, addresses, [front]), Node =:= ?B],
    ok = call(A, ?MODULE, join, [Port]),
    weft_test_util:wait(fun() -> call(A, weft_cluster, count, [front]) =:= #{'weft_a@localhost' => 0, ?B => 1} end),
    stop(P).

serve() ->
    {ok, Sup} = weft_listener:start_link(#{port => 0, module => weft_test_echo, options => weft_test_util:server(#{})}),
    unlink(Sup),
    weft_cluster:join(front, Sup).

join(Port) ->
    spawn(fun() -> {ok, _} = weft:connect("127.0.0.1", Port, weft_test_util:client()), timer:sleep(infinity) end),
    ok.
