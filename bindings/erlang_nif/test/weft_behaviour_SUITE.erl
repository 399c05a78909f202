%% weft_connection and weft_listener: what a program in their manner relies on.
-module(weft_behaviour_SUITE).

-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(weft_test_util, [client/0, client/1, server/1, wait/1]).

all() ->
    [echo, many_clients, a_crash_is_its_own, stopped_by_a_callback, datagrams, calls_and_messages, client_side, drain, bad_options, reload, lost_processes, lost_engines,
        all_engines, all_engines_drain, all_engines_or_none].

init_per_testcase(Case, Config) ->
    _ = application:load(weft_nif),
    Engines = case lists:prefix("all_engines", atom_to_list(Case)) of true -> 3; false -> 1 end,
    ok = application:set_env(weft_nif, engines, Engines),
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

%%% what is lost

%% The port stays, with its clients, whatever process of the tree is killed.
lost_processes(_) ->
    {Sup, Port} = start(),
    C = connect(Port),
    {ok, <<"mine">>} = ask(C, <<"mine">>),
    [
        begin
            {Id, Pid, _, _} = lists:keyfind(Id, 1, supervisor:which_children(Sup)),
            exit(Pid, kill),
            wait(fun() -> {_, New, _, _} = lists:keyfind(Id, 1, supervisor:which_children(Sup)), is_pid(New) andalso New =/= Pid end),
            {ok, {_, Port}} = weft_listener:sockname(Sup),
            %% One that an acceptor had in its hands when it was killed is closed.
            wait(fun() ->
                D = connect(Port),
                Result = ask(D, <<"new">>),
                ok = weft:close(D),
                Result =:= {ok, <<"new">>}
            end),
            {ok, <<"old">>} = ask(C, <<"old">>)
        end
     || Id <- [owner, acceptors]
    ],
    ok = weft:close(C),
    weft_listener:stop(Sup).

%% With the engines goes the tree, and its supervisor has a new one.
lost_engines(_) ->
    {Sup, Port} = start(),
    unlink(Sup),
    Monitor = monitor(process, Sup),
    Engines = whereis(weft_engines),
    exit(Engines, kill),
    receive {'DOWN', Monitor, _, _, Reason} -> shutdown = Reason after 10000 -> error(stayed) end,
    {Again, Port} = start(#{port => Port}),
    C = connect(Port),
    {ok, <<"again">>} = ask(C, <<"again">>),
    ok = weft:close(C),
    weft_listener:stop(Again).

%%% one port, all engines

engines() -> length(weft:engine_stats()).

%% Clients of different addresses land on every engine, and one whose address changes stays with its own.
all_engines(_) ->
    {Sup, Port} = start(#{engines => all, acceptors => 1}),
    Listeners = weft_listener:listeners(Sup),
    ?assertEqual(engines(), length(Listeners)),
    [{ok, {_, Port}} = weft:sockname(L) || L <- Listeners],
    Infos = fun() -> [begin {ok, Info} = weft:info(L), Info end || L <- Listeners] end,
    ?assertEqual(lists:seq(0, engines() - 1), [E || #{engine := E} <- Infos()]),
    Clients = spread(Port, fun() -> lists:all(fun(#{connections := N}) -> N > 0 end, Infos()) end, []),
    ?assertEqual(length(Clients), weft_listener:count(Sup)),
    [begin Relay ! rebind, {ok, <<"moved">>} = ask(C, <<"moved">>) end || {C, Relay} <- Clients],
    ?assertEqual(length(Clients), weft_listener:count(Sup)),
    ok = weft_listener:reload(Sup, maps:remove(ip, server(#{}))),
    weft_listener:stop(Sup),
    [begin weft:close(C), Relay ! stop end || {C, Relay} <- Clients],
    ok.

%% Clients, each through a relay of its own, until there are enough.
spread(Port, IsEnough, Clients) when length(Clients) < 64 ->
    case IsEnough() of
        true ->
            Clients;
        false ->
            Me = self(),
            Relay = spawn_link(fun() -> relay_start(Me, Port) end),
            Front = receive {Relay, Bound} -> Bound end,
            C = connect(Front),
            {ok, <<"here">>} = ask(C, <<"here">>),
            spread(Port, IsEnough, [{C, Relay} | Clients])
    end.

relay_start(Parent, Port) ->
    [Front, Back] = [relay_socket(), relay_socket()],
    {ok, Bound} = inet:port(Front),
    Parent ! {self(), Bound},
    relay(Front, Back, undefined, Port).

relay_socket() ->
    {ok, U} = gen_udp:open(0, [binary, {ip, {127, 0, 0, 1}}, {active, true}]),
    U.

relay(Front, Back, Client, Port) ->
    receive
        {udp, Front, _, From, Data} ->
            ok = gen_udp:send(Back, {127, 0, 0, 1}, Port, Data),
            relay(Front, Back, From, Port);
        {udp, Back, _, _, Data} ->
            ok = gen_udp:send(Front, {127, 0, 0, 1}, Client, Data),
            relay(Front, Back, Client, Port);
        {udp, _, _, _, _} ->
            relay(Front, Back, Client, Port);
        rebind ->
            New = relay_socket(),
            ok = gen_udp:close(Back),
            relay(Front, New, Client, Port);
        stop ->
            ok
    end.

%% Sockets of one port close together: what one engine still has goes on when the others have nothing left.
all_engines_drain(_) ->
    {ok, Listeners} = weft:listen_all(0, server(#{active => true, accept_active => true, stream_active => true})),
    {ok, {_, Port}} = weft:sockname(hd(Listeners)),
    C = connect(Port),
    A = receive {weft_conn, _, Conn} -> Conn after 10000 -> error(not_accepted) end,
    {ok, S} = weft:open_stream(C),
    Me = self(),
    spawn_link(fun() -> Me ! {stopped, weft:stop(Listeners, #{mode => drain})} end),
    wait(fun() -> element(1, weft:connect("127.0.0.1", Port, client(#{handshake_timeout => 200}), 200)) =:= error end),
    ok = weft:migrate(C),
    ok = weft:send(S, <<"still here">>),
    T = receive {weft_stream, A, Stream} -> Stream after 10000 -> error(no_stream) end,
    receive {weft, T, <<"still here">>} -> ok after 10000 -> error(no_data) end,
    [{ok, _} = weft:info(L) || L <- Listeners],
    receive {stopped, _} -> error(too_soon) after 0 -> ok end,
    ok = weft:close(C),
    receive {stopped, ok} -> ok after 10000 -> error(not_stopped) end,
    [receive {weft_closed, L, normal} -> ok after 10000 -> error(not_told) end || L <- Listeners],
    {ok, Again} = weft:listen_all(Port, server(#{})),
    ok = weft:close(Again).

all_engines_or_none(_) ->
    {ok, U} = gen_udp:open(0),
    {ok, Taken} = inet:port(U),
    {error, {_, _}} = weft:listen_all(Taken, server(#{ip => any})),
    {error, {options, _}} = weft:listen_all(0, server(#{engine => 1})),
    {error, {options, _}} = weft:listen_all(0, server(#{nonsense => 1})),
    ok = gen_udp:close(U),
    {ok, [_ | _] = Listeners} = weft:listen_all({{127, 0, 0, 1}, Taken}, server(#{})),
    ok = weft:stop(Listeners, #{mode => detach}),
    wait(fun() -> maps:get(listeners, weft:live()) =:= 0 end).
