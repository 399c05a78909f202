%% Properties: hand-over at random points under load loses and reorders nothing; a process killed at any moment leaves
%% nothing alive and a listener that works. WEFT_PROP_RUNS: how many runs each (1000).
-module(weft_prop_SUITE).

%% Without PropEr's header: rebar3 shows an application only what it depends on, and nothing here does.
-define(FORALL(X, Type, Property), proper:forall(Type, fun(Drawn) -> X = Drawn, held(Drawn, fun() -> Property end) end)).
-import(proper_types, [list/1, oneof/1, non_empty/1, integer/0, integer/2, boolean/0, atom/0, binary/0, char/0, float/0]).

-compile(export_all).
-compile(nowarn_export_all).

-import(weft_test_util, [client/0, client/1, server/1, wait/1, pair/0, streams/1, close/1]).

all() -> [hand_over, options, killing].

init_per_suite(Config) ->
    case code:which(proper) of
        non_existing -> true = code:add_path(filename:join(hd(filelib:wildcard(filename:join(code:lib_dir(), "proper-*"))), "ebin"));
        _ -> ok
    end,
    Config.

end_per_suite(_) -> ok.

init_per_testcase(_, Config) ->
    {ok, _} = application:ensure_all_started(weft_nif),
    Config.

end_per_testcase(_, _) ->
    weft_test_util:assert_nothing_lives(),
    ok = application:stop(weft_nif).

runs() -> list_to_integer(os:getenv("WEFT_PROP_RUNS", "1000")).

check(Property) ->
    true = proper:quickcheck(Property, [{numtests, runs()}, {to_file, standard_error}, noshrink, quiet]).

%% PropEr of this age cannot report an exception on this OTP: so it is reported here.
held(Drawn, Property) ->
    try
        Property() orelse (ct:pal("false for ~tp", [Drawn]) =:= true)
    catch
        Class:Reason:Stack ->
            ct:pal("~tp: ~tp~n~tp~nfor ~tp~nlive: ~tp", [Class, Reason, Stack, Drawn, weft:live()]),
            false
    end.

%%% hand-over

hand_over(_) ->
    P = pair(),
    check(hand_over_property(P)),
    close(P).

%% Pieces that are sent, and how many messages each of a row of owners takes before it hands over, in which mode.
hand_over_property(P) ->
    ?FORALL(
        {Pieces, Owners},
        {non_empty(list(oneof([integer(1, 100), integer(1000, 40000)]))),
            list({integer(0, 3), oneof([true, once, integer(1, 5)])})},
        begin
            {S, T} = streams(P),
            Data = [crypto:strong_rand_bytes(N) || N <- Pieces],
            Self = self(),
            spawn_link(fun() -> receive go -> [ok = weft:send(S, D) || D <- Data], ok = weft:send_fin(S), Self ! sent, receive stop -> ok end end end) ! go,
            First = spawn_link(fun() -> owner(T, Owners, [], Self) end),
            ok = weft:controlling_process(T, First),
            First ! {yours, self()},
            Got = receive {got, Bytes} -> Bytes after 20000 -> nothing end,
            receive sent -> ok end,
            ok = weft:close(T),
            ok = weft:close(S),
            Got =:= iolist_to_binary(Data)
        end
    ).

%% What it has of the bytes goes with the handle, to check them at the end.
owner(T, Owners, Acc, Report) ->
    receive {yours, _} -> ok end,
    case Owners of
        [{Count, Mode} | Rest] ->
            ok = weft:setopts(T, #{active => Mode}),
            case take(T, Mode, Count, Acc) of
                {fin, Acc2} ->
                    Report ! {got, iolist_to_binary(lists:reverse(Acc2))};
                {more, Acc2} ->
                    Next = spawn_link(fun() -> owner(T, Rest, Acc2, Report) end),
                    ok = weft:controlling_process(T, Next),
                    Next ! {yours, self()}
            end;
        [] ->
            ok = weft:setopts(T, #{active => true}),
            {fin, Acc2} = take(T, true, infinity, Acc),
            Report ! {got, iolist_to_binary(lists:reverse(Acc2))}
    end.

take(_, _, 0, Acc) ->
    {more, Acc};
take(T, Mode, Count, Acc) ->
    receive
        {weft, T, Data} ->
            Mode =:= once andalso weft:setopts(T, #{active => once}),
            take(T, Mode, if is_integer(Count) -> Count - 1; true -> Count end, [Data | Acc]);
        {weft_passive, T} ->
            ok = weft:setopts(T, #{active => if is_integer(Mode) -> Mode; true -> 1 end}),
            take(T, Mode, Count, Acc);
        {weft_fin, T} ->
            {fin, Acc}
    end.

%%% options

%% Whatever is given as options, the answer is {ok, _} or an error with a text, and never a crash.
options(_) ->
    Names = maps:keys(weft:options()) ++ [active, certfile, keyfile, cacerts, alpn, verify, backlog, ip, pins, nonsense],
    check(?FORALL({Name, Value}, {oneof(Names), oneof([integer(), boolean(), atom(), binary(), list(char()), {integer(), oneof([s, ms, x])}, float()])},
        case weft_options:parse(listen, #{Name => Value}, server) of
            {ok, Ops, Api} -> is_list(Ops) andalso is_map(Api);
            {error, {options, Text}} -> is_binary(Text) andalso byte_size(Text) > 0
        end)).

%%% killing

killing(_) ->
    {ok, Sup} = weft_listener:start_link(#{port => 0, module => weft_test_echo, acceptors => 10, options => server(#{})}),
    {ok, {_, Port}} = weft_listener:sockname(Sup),
    works(Port),
    wait(fun() -> maps:get(conns, weft:live()) =:= 0 end),
    Sockets = sockets(),
    check(killing_property(Sup, Port)),
    works(Port),
    wait(fun() -> maps:get(conns, weft:live()) =:= 0 end),
    Left = sockets(),
    true = Left =< Sockets,
    weft_listener:stop(Sup).

killing_property(Sup, Port) ->
    ?FORALL(
        {Victim, Delay, Size},
        {oneof([client, sender, connection, acceptor]), integer(0, 6000), oneof([1, 1000, 300000])},
        begin
            Self = self(),
            Client = spawn(fun() -> client_life(Port, Size, Self) end),
            timer_us(Delay),
            kill(victim(Victim, Sup, Client)),
            timer_us(500),
            exit(Client, kill),
            works(Port),
            wait(fun() ->
                case maps:with([conns, streams, waiters, outgoing], weft:live()) of
                    %% The acceptors wait.
                    #{conns := 0, streams := 0, outgoing := 0, waiters := W} when W =< 10 -> true;
                    Left -> Left
                end
            end),
            true
        end
    ).

timer_us(Us) ->
    Until = erlang:monotonic_time(microsecond) + Us,
    case Us > 2000 of
        true -> timer:sleep(Us div 1000);
        false -> ok
    end,
    spin(Until).

spin(Until) ->
    case erlang:monotonic_time(microsecond) < Until of
        true -> erlang:yield(), spin(Until);
        false -> ok
    end.

%% Connects, opens streams, sends and receives, and hands streams over, until it is killed.
client_life(Port, Size, Parent) ->
    case weft:connect("127.0.0.1", Port, client(), 10000) of
        {ok, C} ->
            Data = binary:copy(<<"x">>, Size),
            Sender = spawn(fun() -> sender_life(C, Data) end),
            register_sender(Parent, Sender),
            client_streams(C, Data);
        {error, _} ->
            ok
    end.

register_sender(_, Sender) -> put(sender, Sender).

sender_life(C, Data) ->
    case weft:open_stream(C) of
        {ok, S} ->
            _ = weft:send_fin(S, Data),
            _ = weft:recv(S, byte_size(Data)),
            sender_life(C, Data);
        {error, _} ->
            ok
    end.

client_streams(C, Data) ->
    case weft:open_stream(C, #{active => true}) of
        {ok, S} ->
            _ = weft:send(S, Data),
            Helper = spawn(fun() -> receive {weft, S, _} -> ok after 5 -> ok end end),
            _ = weft:controlling_process(S, Helper),
            client_streams(C, Data);
        {error, _} ->
            ok
    end.

victim(client, _, Client) -> Client;
victim(sender, _, Client) ->
    case process_info(Client, dictionary) of
        {dictionary, D} -> proplists:get_value(sender, D, Client);
        undefined -> Client
    end;
victim(connection, Sup, Client) ->
    case weft_listener:connections(Sup) of
        [Pid | _] -> Pid;
        [] -> Client
    end;
victim(acceptor, Sup, _) ->
    {_, Acceptors, _, _} = lists:keyfind(acceptors, 1, supervisor:which_children(Sup)),
    {_, Pid, _, _} = hd(supervisor:which_children(Acceptors)),
    Pid.

kill(Pid) -> is_pid(Pid) andalso exit(Pid, kill).

works(Port) ->
    {ok, C} = weft:connect("127.0.0.1", Port, client(), 10000),
    {ok, S} = weft:open_stream(C),
    ok = weft:send_fin(S, <<"alive">>),
    {ok, <<"alive">>} = weft:recv(S, 5, 10000),
    ok = weft:close(C).

sockets() ->
    {ok, Fds} = file:list_dir("/proc/self/fd"),
    length([F || F <- Fds, {ok, "socket:" ++ _} <- [file:read_link_all("/proc/self/fd/" ++ F)]]).
