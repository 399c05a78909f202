%% The life of the library and of its engines: loaded again, purged, stopped, halted, killed, with live connections.
-module(weft_life_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(weft_test_util, [pair/0, pair/2, streams/1, close/1, client/1, listen/1, port/1, wait/1]).

all() ->
    [
        stop_answers_everybody,
        stop_waits_for_nobody,
        binaries_outlive_their_engine,
        killed_engines_are_started_again,
        loaded_again,
        purged,
        halted,
        init_stop,
        many_engines,
        memory_is_given_back,
        calls_return_at_once
    ].

init_per_testcase(_, Config) ->
    {ok, _} = application:ensure_all_started(weft_nif),
    Config.

end_per_testcase(_, _) ->
    case whereis(weft_engines) of
        undefined -> ok;
        _ -> weft_test_util:assert_nothing_lives()
    end,
    _ = application:stop(weft_nif),
    wait(fun() ->
        [garbage_collect(P) || P <- processes()],
        case weft:live() of #{engines := 0, buffers := 0, conns := 0} -> true; Live -> Live end
    end).

stop_answers_everybody(_) ->
    P = #{client := C, server := A, listener := L} = pair(),
    {S, T} = streams(P),
    Me = self(),
    Calls = [
        fun() -> weft:recv(T) end,
        fun() -> weft:recv(S, 10) end,
        fun() -> weft:accept(L) end,
        fun() -> weft:accept_stream(A) end,
        fun() -> weft:recv_datagram(C) end,
        fun() -> weft:await_finished(S) end
    ],
    Pids = [spawn_link(fun() -> Me ! {self(), Call()} end) || Call <- Calls],
    timer:sleep(50),
    ok = weft:setopts(C, #{active => true}),
    ok = application:stop(weft_nif),
    [receive {Pid, {error, R}} -> true = R =:= closed orelse element(1, R) =:= closed after 5000 -> error(not_answered) end || Pid <- Pids],
    %% The other end's engine may have stopped first.
    receive {weft_closed, C, #{cause := Cause}} when Cause =:= local; Cause =:= peer -> ok
    after 5000 -> error({not_told, process_info(Me, messages)})
    end,
    [{error, closed} = R || R <- [weft:send(S, <<"x">>), weft:info(C), weft:accept(L), weft:close(C), weft:open_stream(A)]],
    {error, closed} = weft:listen(0, weft_test_util:server()),
    {error, closed} = weft:connect("127.0.0.1", 1, client(#{})).

%% A peer that does not answer does not delay it.
stop_waits_for_nobody(_) ->
    {ok, U} = gen_udp:open(0, [{ip, {127, 0, 0, 1}}]),
    {ok, Port} = inet:port(U),
    {ok, _} = weft:connect("127.0.0.1", Port, client(#{wait => false})),
    ok = application:stop(weft_nif).

binaries_outlive_their_engine(_) ->
    P = pair(#{}, #{send_udp_payload_size => 0}),
    {S, T} = streams(P),
    Data = crypto:strong_rand_bytes(300000),
    ok = weft:setopts(T, #{active => true}),
    ok = weft:send_fin(S, Data),
    Parts = parts(T, []),
    #{buffers := Buffers} = weft:live(),
    ok = application:stop(weft_nif),
    ?assertEqual(erlang:md5(Data), erlang:md5(Parts)),
    ct:log("~b binaries referred to buffers of the core", [Buffers]),
    ?assert(Buffers > 0),
    ok.

parts(T, Acc) ->
    receive
        {weft, T, Part} -> parts(T, [Part | Acc]);
        {weft_fin, T} -> lists:reverse(Acc)
    after 10000 -> error(nothing)
    end.

killed_engines_are_started_again(_) ->
    P = #{client := C} = pair(),
    {S, _} = streams(P),
    Pid = whereis(weft_engines),
    exit(Pid, kill),
    wait(fun() -> is_pid(whereis(weft_engines)) andalso whereis(weft_engines) =/= Pid andalso weft_engines:all() =/= [] end),
    wait(fun() -> case weft:send(S, <<"x">>) of {error, closed} -> true; {error, {closed, _}} -> true; Other -> Other end end),
    wait(fun() -> case weft:info(C) of {error, closed} -> true; Other -> Other end end),
    close(pair()).

loaded_again(_) ->
    P = pair(),
    {S, T} = streams(P),
    [
        begin
            _ = code:purge(weft_nif),
            {module, weft_nif} = code:load_file(weft_nif),
            ok = weft:send(S, <<N>>),
            {ok, <<N>>} = weft:recv(T, 1, 5000)
        end
     || N <- [1, 2, 3]
    ],
    close(P).

%% In a VM of its own: what is purged there is not purged here.
purged(_) ->
    ok = elsewhere(fun() ->
        P = #{client := C} = pair(),
        {S, T} = streams(P),
        ok = weft:setopts(T, #{active => true}),
        ok = weft:send(S, <<"before">>),
        receive {weft, T, <<"before">>} -> ok end,
        true = code:delete(weft_nif),
        _ = code:purge(weft_nif),
        %% A new library is loaded now, and the old handles are strangers to it.
        {error, closed} = weft:send(S, <<"after">>),
        {error, closed} = weft:info(C),
        {error, closed} = weft:connect("127.0.0.1", 1, client(#{})),
        ok = application:stop(weft_nif),
        {ok, _} = application:ensure_all_started(weft_nif),
        close(pair()),
        garbage_collect(),
        ok
    end).

halted(_) ->
    {_, 0} = other_vm("P = weft_test_util:pair(), weft_test_util:streams(P), halt(0)."),
    {_, 3} = other_vm("weft_test_util:pair(), halt(3, [{flush, false}])."),
    {_, 0} = other_vm("weft_test_util:pair(), spawn(fun F() -> catch weft:close(weft_test_util:pair()), F() end), timer:sleep(300), halt(0).").

init_stop(_) ->
    {_, 0} = other_vm("P = weft_test_util:pair(), weft_test_util:streams(P), init:stop().").

many_engines(_) ->
    ok = application:stop(weft_nif),
    application:set_env(weft_nif, engines, 2),
    try
        {ok, _} = application:ensure_all_started(weft_nif),
        ?assertEqual(min(2, erlang:system_info(schedulers_online)), length(weft_engines:all())),
        Pairs = [pair() || _ <- lists:seq(1, 8)],
        [begin {S, T} = streams(P), ok = weft:send_fin(S, <<"x">>), {ok, <<"x">>} = weft:recv(T, 1, 5000), close(P) end || P <- Pairs]
    after
        application:unset_env(weft_nif, engines)
    end.

memory_is_given_back(_) ->
    Round = fun() ->
        P = pair(),
        [begin {S, T} = streams(P), ok = weft:send(S, binary:copy(<<1>>, 100000)), {ok, _} = weft:recv(T, 100000, 5000) end || _ <- lists:seq(1, 20)],
        close(P),
        weft_test_util:assert_nothing_lives(),
        #{handles := N} = weft:live(),
        N
    end,
    Handles = [Round() || _ <- lists:seq(1, 5)],
    ?assert(lists:last(Handles) =< hd(Handles)).

%% No call waits for the network: thousands of them on one process, none of which is answered.
calls_return_at_once(_) ->
    {ok, U} = gen_udp:open(0, [{ip, {127, 0, 0, 1}}]),
    {ok, Port} = inet:port(U),
    {ok, C} = weft:connect("127.0.0.1", Port, client(#{wait => false})),
    Refs = [begin R = make_ref(), ok = weft_nif:conn_accept_stream(C, false, R), R end || _ <- lists:seq(1, 2000)],
    ok = weft:close(C),
    [receive {R, {error, {closed, _}}} -> ok after 5000 -> error(not_answered) end || R <- Refs].

%%% other VMs

paths() -> [P || P <- code:get_path(), string:find(P, "weft") =/= nomatch] ++ [filename:dirname(code:which(?MODULE))].

elsewhere(Fun) ->
    {ok, Peer, _} = peer:start_link(#{connection => standard_io, args => lists:append([["-pa", P] || P <- paths()])}),
    {ok, _} = peer:call(Peer, application, ensure_all_started, [weft_nif]),
    Result = peer:call(Peer, erlang, apply, [Fun, []], 60000),
    peer:stop(Peer),
    Result.

other_vm(Text) ->
    Erl = os:find_executable("erl"),
    Eval = "{ok, _} = application:ensure_all_started(weft_nif), " ++ Text,
    Port = open_port({spawn_executable, Erl}, [
        {args, lists:append([["-pa", P] || P <- paths()]) ++ ["-noshell", "-eval", Eval]},
        {env, [{"ERL_CRASH_DUMP", "/dev/null"}]},
        exit_status,
        stderr_to_stdout,
        binary
    ]),
    read(Port, <<>>).

read(Port, Acc) ->
    receive
        {Port, {data, Data}} -> read(Port, <<Acc/binary, Data/binary>>);
        {Port, {exit_status, Status}} -> {Acc, Status}
    after 60000 -> error({hangs, Acc})
    end.
