%% weft_connection and weft_listener: what a program in their manner relies on.
-module(weft_behaviour_SUITE).

-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(weft_test_util, [client/0, client/1, server/1, wait/1]).

all() ->
    [echo, many_clients, a_crash_is_its_own, stopped_by_a_callback, datagrams, calls_and_messages, client_side, drain, bad_options, reload].

init_per_testcase(_, Config) ->
    {ok, _} = application:ensure_all_started(weft_nif),
    Config.

end_per_testcase(_, _) ->
    weft_test_util:assert_nothing_lives(),
    ok = application:stop(weft_nif).

start() -> start(#{}).
start(More) ->
    {ok, Sup} = weft_listener:start_link(maps:merge(#{port => 0, module => weft_test_echo, args => self(), options => server(#{max_datagram_frame_size => 65535})}, More)),
    {ok, {_, Port}} = weft_listener:sockname(Sup),
    {Sup, Port}.

connect(Port) ->
    {ok, C} = weft:connect("127.0.0.1", Port, client(#{max_datagram_frame_size => 65535}), 10000),
    C.

ask(C, Text) ->
    {ok, S} = weft:open_stream(C),
    ok = weft:send_fin(S, Text),
    weft:recv(S, byte_size(Text), 10000).

echo(_) ->
    {Sup, Port} = start(),
    C = connect(Port),
    {ok, <<"hello">>} = ask(C, <<"hello">>),
    Data = crypto:strong_rand_bytes(1000000),
    {ok, Data} = ask(C, Data),
    ok = weft:close(C, 5, <<"enough">>),
    receive {closed, #{cause := peer, code := 5, reason := <<"enough">>}} -> ok after 5000 -> error(not_told) end,
    wait(fun() -> weft_listener:count(Sup) =:= 0 end),
    weft_listener:stop(Sup).

many_clients(_) ->
    {Sup, Port} = start(#{acceptors => 3}),
    Me = self(),
    Pids = [spawn_link(fun() ->
        C = connect(Port),
        [{ok, <<N:32>>} = ask(C, <<N:32>>) || _ <- lists:seq(1, 10)],
        Me ! {done, self()},
        receive stop -> weft:close(C) end
    end) || N <- lists:seq(1, 30)],
    [receive {done, P} -> ok after 30000 -> error(late) end || P <- Pids],
    30 = weft_listener:count(Sup),
    [P ! stop || P <- Pids],
    wait(fun() -> weft_listener:count(Sup) =:= 0 end),
    weft_listener:stop(Sup).

a_crash_is_its_own(_) ->
    {Sup, Port} = start(),
    {A, B} = {connect(Port), connect(Port)},
    {ok, <<"a">>} = ask(A, <<"a">>),
    {ok, <<"b">>} = ask(B, <<"b">>),
    {ok, S} = weft:open_stream(A),
    ok = weft:send(S, <<"crash">>),
    {error, {closed, #{cause := peer, reason := <<"error">>}}} = weft:recv(S, 0, 10000),
    {ok, <<"still">>} = ask(B, <<"still">>),
    wait(fun() -> weft_listener:count(Sup) =:= 1 end),
    ok = weft:close(B),
    weft_listener:stop(Sup).

stopped_by_a_callback(_) ->
    {Sup, Port} = start(),
    C = connect(Port),
    {ok, S} = weft:open_stream(C),
    ok = weft:send(S, <<"stop">>),
    {error, {closed, #{cause := peer, code := 0}}} = weft:recv(S, 0, 10000),
    weft_listener:stop(Sup).

datagrams(_) ->
    {Sup, Port} = start(),
    C = connect(Port),
    %% The connection's process may not be armed yet: they wait.
    ok = weft:send_datagram(C, <<"there and back">>),
    {ok, <<"there and back">>} = weft:recv_datagram(C, 10000),
    ok = weft:close(C),
    weft_listener:stop(Sup).

calls_and_messages(_) ->
    {Sup, Port} = start(),
    C = connect(Port),
    {ok, <<"x">>} = ask(C, <<"x">>),
    [Pid] = weft_listener:connections(Sup),
    1 = gen_server:call(Pid, streams),
    Pid ! {tell, self()},
    receive told -> ok after 5000 -> error(not_told) end,
    {weft_conn, _} = weft_connection:conn(Pid),
    ok = weft:close(C),
    weft_listener:stop(Sup).

client_side(_) ->
    L = weft_test_util:listen(#{}),
    {ok, Pid} = weft_connection:connect(weft_test_echo, self(), "127.0.0.1", weft_test_util:port(L), client()),
    {ok, A} = weft:accept(L, 5000),
    {ok, <<"from the server">>} = ask(A, <<"from the server">>),
    ok = gen_server:stop(Pid),
    {error, {closed, _}} = weft:accept_stream(A, 5000),
    ok = weft:stop(L).

drain(_) ->
    {Sup, Port} = start(#{drain => 10000}),
    C = connect(Port),
    {ok, <<"x">>} = ask(C, <<"x">>),
    Me = self(),
    spawn_link(fun() -> unlink(Me), Me ! go, weft_listener:stop(Sup), Me ! stopped end),
    receive go -> ok end,
    unlink(Sup),
    timer:sleep(100),
    {ok, <<"still">>} = ask(C, <<"still">>),
    ok = weft:close(C),
    receive stopped -> ok after 15000 -> error(not_stopped) end.

bad_options(_) ->
    process_flag(trap_exit, true),
    {error, {options, Text}} = weft_listener:start_link(#{port => 0, module => weft_test_echo, options => #{alpnn => ["x"]}}),
    {match, _} = re:run(Text, "alpnn.*did you mean alpn"),
    process_flag(trap_exit, false).

reload(_) ->
    {Sup, Port} = start(),
    C = connect(Port),
    {ok, Old} = weft:peercert(C),
    ok = weft_listener:reload(Sup, #{alpn => ["echo"], self_signed => "other"}),
    C2 = connect(Port),
    {ok, New} = weft:peercert(C2),
    ?assert(Old =/= New),
    {ok, <<"x">>} = ask(C, <<"x">>),
    [ok = weft:close(X) || X <- [C, C2]],
    weft_listener:stop(Sup).
