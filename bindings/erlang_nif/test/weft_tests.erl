%% The API, function by function, within one VM.
-module(weft_tests).

-include_lib("eunit/include/eunit.hrl").

-import(weft_test_util, [pair/0, pair/2, streams/1, close/1, client/1, listen/1, port/1, wait/1]).

all_test_() ->
    {setup,
        fun() -> {ok, _} = application:ensure_all_started(weft_nif) end,
        fun(_) ->
            weft_test_util:assert_nothing_lives(),
            ok = application:stop(weft_nif)
        end,
        [{timeout, 60, {atom_to_list(Name), fun() -> ?MODULE:Name() end}} || {Name, 0} <- ?MODULE:module_info(exports), is_case(Name)]}.

is_case(Name) -> lists:prefix("t_", atom_to_list(Name)).

-compile(export_all).
-compile(nowarn_export_all).

%%% streams

t_echo() ->
    P = pair(),
    {S, T} = streams(P),
    ok = weft:send(S, [<<"he">>, "llo"]),
    {ok, <<"hello">>} = weft:recv(T, 5, 5000),
    ok = weft:send_fin(T, <<"bye">>),
    {ok, <<"bye">>} = weft:recv(S, 0, 5000),
    {error, fin} = weft:recv(S, 0, 5000),
    close(P).

t_large_both_ways() ->
    P = pair(),
    {S, T} = streams(P),
    Data = crypto:strong_rand_bytes(8 bsl 20),
    Half = byte_size(Data) div 2,
    <<A:Half/binary, B:Half/binary>> = Data,
    spawn_link(fun() -> ok = weft:send(S, A), ok = weft:send_fin(S, [B]) end),
    {ok, Got} = weft:recv(T, byte_size(Data), 30000),
    ?assertEqual(erlang:md5(Data), erlang:md5(Got)),
    {error, fin} = weft:recv(T, 0, 5000),
    ok = weft:send_fin(T, binary:part(Data, 0, 3000000)),
    ?assertEqual({ok, binary:part(Data, 0, 3000000)}, weft:recv(S, 4000000, 30000)),
    {error, fin} = weft:recv(S, 1, 5000),
    close(P).

%% What has arrived before the connection was closed is the reader's, whatever his mode.
t_received_after_close() ->
    Data = crypto:strong_rand_bytes(200000),
    Half = binary:part(Data, 0, 100000),
    lists:foreach(
        fun({Mode, Fin, Read}) ->
            P = #{client := C, server := A} = pair(),
            {S, T} = streams(P),
            if Fin -> ok = weft:send_fin(T, Data); true -> ok = weft:send(T, Data) end,
            wait(fun() -> {ok, #{received := N}} = weft:info(S), N =:= 200000 end),
            ok = weft:close(A),
            wait(fun() -> element(1, weft:info(C)) =:= error end),
            {ok, #{bytes_received := Counted}} = weft:stats(C),
            ?assert(Counted > 200000),
            ?assertEqual(Data, Read(S, Mode)),
            close(P)
        end,
        [
            {false, true, fun(S, _) -> {ok, D} = weft:recv(S, 200001, 5000), {error, fin} = weft:recv(S), D end},
            {false, false, fun(S, _) ->
                {ok, D} = weft:recv(S, 100000, 5000),
                ?assertEqual(Half, D),
                {ok, E} = weft:recv(S, 200000, 5000),
                {error, {closed, #{cause := peer}}} = weft:recv(S),
                <<D/binary, E/binary>>
            end},
            {once, true, fun received/2},
            {100, false, fun received/2}
        ]
    ).

received(S, Mode) ->
    ok = weft:setopts(S, #{active => Mode}),
    receive
        {weft, S, Data} ->
            Rest = received(S, if Mode =:= once -> once; true -> 0 end),
            <<Data/binary, Rest/binary>>;
        {weft_fin, S} -> received(S, Mode);
        {weft_closed, S, _} -> <<>>
    after 5000 -> error(nothing)
    end.

%% So is what had arrived on streams that nobody had accepted by then, when the end was not his own wish.
t_accepted_after_close() ->
    lists:foreach(
        fun({Closer, Mode}) ->
            P = #{client := C, server := A} = pair(),
            Sent = [
                begin
                    {ok, S} = weft:open_stream(C, uni),
                    ok = weft:send_fin(S, Data),
                    ok = weft:await_finished(S, 5000),
                    Data
                end
             || Data <- [<<"one">>, <<>>, crypto:strong_rand_bytes(100000)]
            ],
            {ok, Last} = weft:open_stream(C), %% nothing but its ID
            ok = weft:reset(Last, 3),
            ok = weft:close(maps:get(Closer, P), 7),
            wait(fun() -> element(1, weft:info(A)) =:= error end),
            case Closer of
                client -> ?assertEqual(Sent, accepted_late(A, Mode));
                server -> {error, {closed, #{cause := local}}} = weft:accept_stream(A, 5000)
            end,
            close(P),
            receive {weft_confirmed, A} -> ok after 0 -> ok end
        end,
        [{client, false}, {client, true}, {client, once}, {server, false}]
    ),
    %% Those that nobody ever asks for go with their connection.
    P = #{client := C, server := A} = pair(),
    {ok, S} = weft:open_stream(C),
    ok = weft:send_fin(S, <<"never read">>),
    ok = weft:await_finished(S, 5000),
    close(P),
    wait(fun() -> element(1, weft:info(A)) =:= error end).

accepted_late(A, false) ->
    case weft:accept_stream(A, 5000) of
        {ok, T} ->
            [iolist_to_binary(rest(T)) | accepted_late(A, false)];
        {error, {closed, #{cause := peer, code := 7}}} ->
            []
    end;
accepted_late(A, Mode) ->
    case weft:setopts(A, #{active => Mode}) of ok -> ok; {error, {closed, _}} -> ok end,
    receive
        {weft_stream, A, T} -> [iolist_to_binary(rest(T)) | accepted_late(A, Mode)];
        {weft_closed, A, #{cause := peer, code := 7}} -> []
    after 5000 -> error(nothing)
    end.

rest(T) ->
    case weft:recv(T, 0, 5000) of
        {ok, Data} -> [Data | rest(T)];
        {error, fin} -> []
    end.

%% Three probe timeouts (RFC 9000 10.2), in each of which is the time that the peer may take to acknowledge.
t_draining() ->
    Slow = #{client := C, server := A} = pair(#{max_ack_delay => 16000}, #{}),
    {ok, 0} = weft:draining(C),
    ok = weft:close(A),
    wait(fun() -> element(1, weft:info(C)) =:= error end),
    {ok, Left} = weft:draining(C),
    ?assert(Left > 16000 * 1000000),
    wait(fun() -> weft:draining(A) =:= {ok, 0} end),
    close(Slow).

%% Small pieces, large binaries by reference and lists of both keep their order.
t_mixed_sizes() ->
    P = pair(),
    {S, T} = streams(P),
    Parts = [crypto:strong_rand_bytes(N) || N <- [1, 20000, 7, 16384, 16383, 100000, 3, 70000, 1, 1]],
    [ok = weft:send(S, Part) || Part <- Parts],
    ok = weft:send(S, Parts),
    ok = weft:send_fin(S),
    Whole = iolist_to_binary([Parts, Parts]),
    ?assertEqual({ok, Whole}, weft:recv(T, byte_size(Whole), 10000)),
    {error, fin} = weft:recv(T),
    close(P).

t_uni_streams() ->
    P = #{client := C, server := A} = pair(),
    {ok, S} = weft:open_stream(C, uni),
    2 = weft:stream_id(S),
    {error, stream_closed} = weft:recv(S, 0, 1000),
    ok = weft:send_fin(S, <<"one way">>),
    {ok, T} = weft:accept_stream(A, 5000),
    {ok, <<"one way">>} = weft:recv(T, 0, 5000),
    {error, stream_closed} = weft:send(T, <<"x">>),
    close(P).

t_open_waits_for_the_peers_leave() ->
    P = #{client := C, server := A} = pair(#{initial_max_streams_bidi => 1}, #{}),
    {ok, S} = weft:open_stream(C),
    {error, stream_limit} = weft:open_stream(C, #{wait => false}),
    {error, timeout} = weft:open_stream(C, #{}, 50),
    Me = self(),
    spawn_link(fun() -> {ok, S2} = weft:open_stream(C), ok = weft:send(S2, <<"2">>), Me ! opened, receive stop -> ok end end),
    ok = weft:send_fin(S, <<"1">>),
    {ok, T} = weft:accept_stream(A),
    {ok, <<"1">>} = weft:recv(T),
    {error, fin} = weft:recv(T),
    ok = weft:send_fin(T),
    {error, fin} = weft:recv(S),
    receive opened -> ok after 5000 -> error(not_opened) end,
    {ok, T2} = weft:accept_stream(A, 5000),
    {ok, <<"2">>} = weft:recv(T2),
    close(P).

t_reset_and_stop() ->
    P = pair(),
    {S, T} = streams(P),
    ok = weft:reset(S, 77),
    {error, {reset, 77}} = weft:recv(T, 0, 5000),
    {error, {reset, 77}} = weft:recv(T, 0, 5000),
    {error, stream_closed} = weft:send(S, <<"x">>),
    ok = weft:stop_sending(S, 78),
    wait(fun() -> weft:send(T, <<"x">>) =:= {error, {stopped, 78}} end),
    close(P).

t_shutdown() ->
    P = pair(),
    {S, T} = streams(P),
    ok = weft:send(S, <<"last">>),
    ok = weft:shutdown(S, write),
    ok = weft:shutdown(S, write),
    {ok, <<"last">>} = weft:recv(T, 0, 5000),
    {error, fin} = weft:recv(T, 0, 5000),
    ok = weft:shutdown(S, read, 5),
    %% Both directions are done when it hears of that: soon there is no stream any more to ask.
    wait(fun() -> lists:member(weft:send(T, <<"x">>), [{error, {stopped, 5}}, {error, closed}]) orelse {no, weft:send(T, <<>>)} end),
    close(P).

t_await_finished() ->
    P = pair(),
    {S, T} = streams(P),
    {error, timeout} = weft:await_finished(S, 10),
    ok = weft:send_fin(S, crypto:strong_rand_bytes(100000)),
    {ok, _} = weft:recv(T, 100000, 5000),
    ok = weft:await_finished(S, 5000),
    close(P).

%%% recv

t_recv_timeout_keeps_bytes() ->
    P = pair(),
    {S, T} = streams(P),
    {error, timeout} = weft:recv(T, 0, 20),
    ok = weft:send(S, <<"abc">>),
    {error, timeout} = weft:recv(T, 6, 200),
    ok = weft:send(S, <<"def">>),
    {ok, <<"ab">>} = weft:recv(T, 2, 5000),
    {ok, <<"cdef">>} = weft:recv(T, 4, 5000),
    close(P).

t_recv_less_at_the_end() ->
    P = pair(),
    {S, T} = streams(P),
    ok = weft:send_fin(S, <<"abc">>),
    {ok, <<"abc">>} = weft:recv(T, 10, 5000),
    {error, fin} = weft:recv(T, 10, 5000),
    {error, enomem} = weft:recv(T, 1 bsl 40, 5000),
    close(P).

t_recv_is_answered_at_close() ->
    P = #{client := C} = pair(),
    {_, T} = streams(P),
    Me = self(),
    spawn_link(fun() -> Me ! {got, weft:recv(T, 100)} end),
    timer:sleep(50),
    ok = weft:close(C, 42, <<"over">>),
    receive
        {got, {error, {closed, Info}}} ->
            ?assertMatch(#{cause := peer, layer := application, code := 42, reason := <<"over">>}, Info)
    after 5000 -> error(not_answered)
    end,
    close(P).

%%% modes

t_active_false_is_silent() ->
    P = pair(),
    {S, _T} = streams(P),
    ok = weft:send_fin(S, <<"x">>),
    receive M -> error(M) after 100 -> ok end,
    close(P).

t_active_once() ->
    P = pair(),
    {S, T} = streams(P),
    ok = weft:setopts(T, #{active => once}),
    ok = weft:send(S, <<"one">>),
    receive {weft, T, <<"one">>} -> ok after 5000 -> error(nothing) end,
    ok = weft:send_fin(S, <<"two">>),
    receive M -> error(M) after 100 -> ok end,
    {ok, [{active, false}]} = weft:getopts(T, [active]),
    ok = weft:setopts(T, [{active, once}]),
    receive {weft, T, <<"two">>} -> ok after 5000 -> error(nothing) end,
    receive M2 -> error(M2) after 50 -> ok end,
    ok = weft:setopts(T, [{active, once}]),
    receive {weft_fin, T} -> ok after 5000 -> error(no_end) end,
    close(P).

t_active_n() ->
    P = pair(),
    {S, T} = streams(P),
    ok = weft:setopts(T, #{active => 2}),
    ok = weft:setopts(T, #{active => 1}),
    {ok, [{active, 3}]} = weft:getopts(T, [active]),
    {error, einval} = weft:recv(T, 0, 100),
    [begin ok = weft:send(S, <<N>>), receive {weft, T, <<N>>} -> ok after 5000 -> error(N) end end || N <- [1, 2, 3]],
    receive {weft_passive, T} -> ok after 5000 -> error(not_passive) end,
    ok = weft:setopts(T, #{active => 5}),
    ok = weft:setopts(T, #{active => -5}),
    receive {weft_passive, T} -> ok after 5000 -> error(not_passive) end,
    {error, einval} = weft:setopts(T, #{active => 32767}) =:= ok andalso weft:setopts(T, #{active => 1}),
    close(P).

t_active_true_and_the_end() ->
    P = pair(),
    {S, T} = streams(P),
    ok = weft:setopts(T, #{active => true}),
    Data = crypto:strong_rand_bytes(500000),
    ok = weft:send_fin(S, Data),
    ?assertEqual(Data, gather(T, [])),
    ok = weft:send_fin(T),
    receive {weft_closed, T, normal} -> ok after 5000 -> error(not_closed) end,
    close(P).

gather(S, Acc) ->
    receive
        {weft, S, Data} -> gather(S, [Data | Acc]);
        {weft_fin, S} -> iolist_to_binary(lists:reverse(Acc))
    after 10000 -> error({so_far, iolist_size(Acc)})
    end.

t_active_reset_stopped() ->
    P = pair(),
    {S, T} = streams(P),
    ok = weft:setopts(T, #{active => true}),
    ok = weft:reset(S, 9),
    receive {weft_reset, T, 9} -> ok after 5000 -> error(no_reset) end,
    ok = weft:stop_sending(S, 10),
    receive {weft_stopped, T, 10} -> ok after 5000 -> error(not_stopped) end,
    receive {weft_closed, T, normal} -> ok after 5000 -> error(not_closed) end,
    close(P).

t_connection_messages() ->
    P = #{server := A, client := C} = pair(#{accept_active => true, stream_active => true}, #{}),
    {ok, S} = weft:open_stream(C),
    ok = weft:send(S, <<"hello">>),
    T = receive {weft_stream, A, T0} -> T0 after 5000 -> error(no_stream) end,
    receive {weft, T, <<"hello">>} -> ok after 5000 -> error(no_data) end,
    ok = weft:close(C, 3, <<"done">>),
    receive {weft_closed, T, #{code := 3}} -> ok after 5000 -> error(stream_not_closed) end,
    receive {weft_closed, A, #{code := 3, reason := <<"done">>}} -> ok after 5000 -> error(not_closed) end,
    close(P).

t_listener_messages() ->
    L = listen(#{active => 1}),
    {ok, C} = weft:connect("127.0.0.1", port(L), client(#{})),
    A = receive {weft_conn, L, A0} -> A0 after 5000 -> error(no_conn) end,
    receive {weft_passive, L} -> ok after 5000 -> error(not_passive) end,
    {ok, C2} = weft:connect("127.0.0.1", port(L), client(#{})),
    {ok, _} = weft:accept(L, 5000),
    {ok, #{owner := Me}} = weft:info(A),
    Me = self(),
    ok = weft:close(C),
    ok = weft:close(C2),
    ok = weft:stop(L).

%%% back-pressure

t_a_reader_that_does_not_read_stops_its_stream_only() ->
    P = pair(#{initial_max_stream_data_bidi_remote => 65536}, #{stream_send_buffer => 65536, high_watermark => 65536, low_watermark => 1024}),
    {S, T} = streams(P),
    Sent = fill(S, 0),
    ?assert(Sent < 1000000),
    {S2, T2} = streams(P),
    ok = weft:send(S2, <<"still there">>),
    {ok, <<"still there">>} = weft:recv(T2, 11, 5000),
    {error, timeout} = weft:send(S, <<"more">>, 50),
    {error, busy} = weft:send(S, <<"more">>, nowait),
    {ok, _} = weft:recv(T, Sent, 10000),
    receive {weft_writable, S} -> ok after 5000 -> error(not_writable) end,
    ok = weft:send(S, <<"more">>, nowait),
    {ok, <<"more">>} = weft:recv(T, 4, 5000),
    close(P).

%% Until nothing more is accepted, and nothing has drained for a while.
fill(S, Sent) ->
    Data = binary:copy(<<7>>, 10000),
    case weft:send(S, Data, nowait) of
        ok ->
            fill(S, Sent + 10000);
        {error, busy} ->
            timer:sleep(100),
            case weft:send(S, Data, nowait) of
                ok -> fill(S, Sent + 10000);
                {error, busy} -> Sent
            end
    end.

t_send_blocks_until_there_is_room() ->
    P = pair(#{initial_max_stream_data_bidi_remote => 65536}, #{stream_send_buffer => 65536, high_watermark => 65536, low_watermark => 1024}),
    {S, T} = streams(P),
    Me = self(),
    spawn_link(fun() -> [ok = weft:send(S, binary:copy(<<N>>, 50000)) || N <- lists:seq(1, 20)], ok = weft:send_fin(S), Me ! sent end),
    timer:sleep(100),
    receive sent -> error(too_early) after 0 -> ok end,
    {ok, Data} = weft:recv(T, 1000000, 10000),
    ?assertEqual(iolist_to_binary([binary:copy(<<N>>, 50000) || N <- lists:seq(1, 20)]), Data),
    receive sent -> ok after 5000 -> error(stuck) end,
    close(P).

%%% owners

t_owner_dies_connection_closes() ->
    P = #{server := A} = pair(),
    L = maps:get(listener, P),
    Me = self(),
    {Pid, Mon} = spawn_monitor(fun() ->
        {ok, C} = weft:connect("127.0.0.1", port(L), client(#{})),
        Me ! {conn, C},
        receive stop -> ok end
    end),
    C = receive {conn, C0} -> C0 end,
    {ok, B} = weft:accept(L, 5000),
    exit(Pid, kill),
    receive {'DOWN', Mon, _, _, _} -> ok end,
    {error, {closed, #{cause := peer}}} = weft:accept_stream(B, 5000),
    {error, _} = weft:open_stream(C),
    {error, timeout} = weft:accept_stream(A, 20),
    close(P).

t_owner_dies_stream_is_reset() ->
    P = #{client := C, server := A} = pair(),
    Me = self(),
    {Pid, Mon} = spawn_monitor(fun() ->
        {ok, S} = weft:open_stream(C),
        ok = weft:send(S, <<"x">>),
        Me ! {stream, S},
        receive stop -> ok end
    end),
    S = receive {stream, S0} -> S0 end,
    {ok, T} = weft:accept_stream(A, 5000),
    {ok, <<"x">>} = weft:recv(T),
    exit(Pid, kill),
    receive {'DOWN', Mon, _, _, _} -> ok end,
    {error, {reset, 0}} = weft:recv(T, 0, 5000),
    {error, _} = weft:send(S, <<"y">>),
    {ok, S2} = weft:open_stream(C),
    ok = weft:send(S2, <<"z">>),
    {ok, _} = weft:accept_stream(A, 5000),
    close(P).

t_controlling_process() ->
    P = pair(),
    {S, T} = streams(P),
    ok = weft:setopts(T, #{active => true}),
    ok = weft:send(S, <<"1">>),
    wait(fun() -> {messages, M} = process_info(self(), messages), M =/= [] end),
    Me = self(),
    Pid = spawn_link(fun() -> Me ! {all, gather(T, [])} end),
    ok = weft:controlling_process(T, Pid),
    {error, not_owner} = weft:controlling_process(T, self()),
    ok = weft:send_fin(S, <<"2">>),
    receive {all, <<"12">>} -> ok after 5000 -> error(lost) end,
    close(P).

t_controlling_process_takes_streams_along() ->
    P = #{client := C, server := A} = pair(#{accept_active => true, stream_active => true}, #{}),
    {ok, S} = weft:open_stream(C),
    ok = weft:send(S, <<"1">>),
    wait(fun() -> {message_queue_len, N} = process_info(self(), message_queue_len), N >= 2 end),
    Me = self(),
    Pid = spawn_link(fun() ->
        receive {weft_stream, A, T} -> Me ! {all, T, gather(T, [])} end,
        receive stop -> ok end
    end),
    ok = weft:controlling_process(A, Pid),
    ok = weft:send_fin(S, <<"2">>),
    receive {all, T, <<"12">>} -> {error, not_owner} = weft:controlling_process(T, self()) after 5000 -> error(lost) end,
    Pid ! stop,
    close(P).

t_controlling_process_of_the_dead() ->
    P = pair(),
    {S, T} = streams(P),
    {Pid, Mon} = spawn_monitor(fun() -> ok end),
    receive {'DOWN', Mon, _, _, _} -> ok end,
    {error, badarg} = weft:controlling_process(T, Pid),
    ok = weft:send(S, <<"x">>),
    {ok, <<"x">>} = weft:recv(T, 0, 5000),
    close(P).

%%% listeners

t_stop_detach() ->
    P = #{listener := L, client := C} = pair(),
    Port = port(L),
    ok = weft:stop(L, #{mode => detach}),
    {S, T} = streams(P),
    {error, _} = weft:connect("127.0.0.1", Port, client(#{handshake_timeout => 500}), 3000),
    ok = weft:send(S, <<"x">>),
    {ok, <<"x">>} = weft:recv(T),
    {error, closed} = weft:accept(L),
    ok = weft:close(C).

t_stop_cascade() ->
    #{listener := L, client := C} = pair(),
    ok = weft:stop(L, #{code => 12}),
    {error, {closed, #{code := 12, cause := peer}}} = weft:accept_stream(C, 5000),
    ok = weft:stop(L).

t_stop_drain() ->
    #{listener := L, client := C} = pair(),
    Me = self(),
    spawn_link(fun() -> Me ! {stopped, weft:stop(L, #{mode => drain})} end),
    receive {stopped, _} -> error(too_early) after 100 -> ok end,
    ok = weft:close(C),
    receive {stopped, ok} -> ok after 10000 -> error(not_stopped) end.

t_stop_drain_has_an_end() ->
    #{listener := L, client := C} = pair(),
    ok = weft:stop(L, #{mode => drain, timeout => 50, code => 4}),
    {error, {closed, #{code := 4}}} = weft:accept_stream(C, 5000).

t_accept_timeout() ->
    L = listen(#{}),
    {error, timeout} = weft:accept(L, 20),
    {ok, C} = weft:connect("127.0.0.1", port(L), client(#{})),
    {ok, _} = weft:accept(L, 5000),
    ok = weft:close(C),
    ok = weft:stop(L).

t_accept_is_answered_when_stopped() ->
    L = listen(#{}),
    Me = self(),
    spawn_link(fun() -> Me ! {got, weft:accept(L)} end),
    timer:sleep(20),
    ok = weft:stop(L),
    receive {got, {error, closed}} -> ok after 5000 -> error(not_answered) end.

t_backlog() ->
    L = listen(#{backlog => 1}),
    {ok, C1} = weft:connect("127.0.0.1", port(L), client(#{})),
    {ok, C2} = weft:connect("127.0.0.1", port(L), client(#{})),
    {error, {closed, #{layer := transport, code := 2}}} = weft:accept_stream(C2, 5000),
    {ok, _} = weft:accept(L, 5000),
    ok = weft:close(C1),
    ok = weft:stop(L).

t_accept_in_the_handshake() ->
    L = listen(#{accept => handshake}),
    Me = self(),
    spawn_link(fun() -> Me ! weft:connect("127.0.0.1", port(L), client(#{})), receive stop -> ok end end),
    {ok, A} = weft:accept(L, 5000),
    {ok, A} = weft:handshake(A, 5000),
    receive {ok, C} -> ok = weft:close(C) end,
    ok = weft:stop(L).

t_owner_of_a_listener_dies() ->
    Me = self(),
    {Pid, Mon} = spawn_monitor(fun() -> L = listen(#{}), Me ! {listener, L, port(L)}, receive stop -> ok end end),
    {L, Port} = receive {listener, L0, Port0} -> {L0, Port0} end,
    {ok, C} = weft:connect("127.0.0.1", Port, client(#{})),
    {ok, A} = weft:accept(L, 5000),
    exit(Pid, kill),
    receive {'DOWN', Mon, _, _, _} -> ok end,
    {error, closed} = weft:accept(L, 5000),
    {ok, S} = weft:open_stream(C),
    ok = weft:send(S, <<"x">>),
    {ok, _} = weft:accept_stream(A, 5000),
    ok = weft:close(C),
    ok = weft:close(A).

%%% datagrams

t_datagrams() ->
    P = #{client := C, server := A} = pair(#{max_datagram_frame_size => 65535}, #{max_datagram_frame_size => 65535}),
    {ok, Most} = weft:max_datagram(C),
    ?assert(Most >= 1000),
    ok = weft:send_datagram(C, <<"one">>),
    {ok, <<"one">>} = weft:recv_datagram(A, 5000),
    {error, timeout} = weft:recv_datagram(A, 10),
    {error, too_large} = weft:send_datagram(C, binary:copy(<<0>>, 65000)),
    ok = weft:setopts(A, #{active => 1}),
    ok = weft:send_datagram(C, <<"two">>, nowait),
    receive {weft_datagram, A, <<"two">>} -> ok after 5000 -> error(lost) end,
    receive {weft_passive, A} -> ok after 5000 -> error(not_passive) end,
    ok = weft:setopts(C, #{active => true}),
    ok = weft:send_datagram(C, <<"three">>, 3),
    receive {weft_datagram_outcome, C, 3, acked} -> ok after 5000 -> error(no_outcome) end,
    close(P).

t_no_datagrams_without_the_peers_leave() ->
    P = #{client := C} = pair(),
    {error, unsupported} = weft:send_datagram(C, <<"one">>),
    close(P).

t_datagrams_that_wait_are_bounded() ->
    P = #{client := C, server := A} = pair(
        #{max_datagram_frame_size => 65535, datagram_queue_count => 3}, #{max_datagram_frame_size => 65535}
    ),
    [begin ok = weft:send_datagram(C, <<N>>), timer:sleep(5) end || N <- lists:seq(1, 10)],
    timer:sleep(100),
    ?assertEqual([{ok, <<8>>}, {ok, <<9>>}, {ok, <<10>>}, {error, timeout}], [weft:recv_datagram(A, 50) || _ <- [1, 2, 3, 4]]),
    close(P).

%%% connections at large

t_info() ->
    P = #{client := C, server := A, listener := L} = pair(),
    {S, _} = streams(P),
    {ok, #{state := open, role := client, alpn := <<"echo">>, version := 1}} = weft:info(C),
    {ok, #{state := open, role := server}} = weft:info(A),
    {ok, {{127, 0, 0, 1}, Port}} = weft:peername(C),
    Port = port(L),
    {ok, {{127, 0, 0, 1}, Port}} = weft:sockname(A),
    {ok, {_, _}} = weft:sockname(C),
    {ok, Der} = weft:peercert(C),
    #{} = maps:from_list([{cert, public_key:pkix_decode_cert(Der, otp)}]),
    {error, no_peercert} = weft:peercert(A),
    {ok, #{packets_sent := N}} = weft:stats(C),
    ?assert(N > 0),
    {ok, #{rtt := Rtt, mtu := Mtu, use := in_use, ecn := _, pto_count := _, packets_sent := M}} = weft:path_stats(C),
    ?assert(Rtt > 0 andalso Mtu >= 1200 andalso M >= N),
    {ok, [#{use := in_use, validated := true, bytes_received := Bytes}]} = weft:all_path_stats(C),
    ?assert(Bytes > 0),
    {ok, #{id := 0, direction := bidi, local := true}} = weft:info(S),
    {ok, [{urgency, 3}]} = weft:getopts(S, [urgency]),
    ok = weft:setopts(S, #{urgency => 1, incremental => false}),
    {ok, [{urgency, 1}, {incremental, false}]} = weft:getopts(S, [urgency, incremental]),
    {error, {options, _}} = weft:setopts(S, #{urgence => 1}),
    {error, {options, _}} = weft:getopts(S, [urgence]),
    {ok, #{connections := 1, backlog := 1024}} = weft:info(L),
    close(P).

t_keys_and_ping() ->
    P = #{client := C} = pair(),
    {_, _} = streams(P),
    {ok, Key} = weft:export_key(C, <<"EXPORTER-test">>, <<"context">>, 32),
    32 = byte_size(Key),
    {ok, Other} = weft:export_key(C, <<"EXPORTER-test">>, no_context, 32),
    ?assert(Key =/= Other),
    wait(fun() -> weft:update_keys(C) =:= ok end),
    ok = weft:ping(C),
    {S, T} = streams(P),
    ok = weft:send(S, <<"x">>),
    {ok, <<"x">>} = weft:recv(T, 1, 5000),
    {ok, #{key_updates := 1}} = weft:stats(C),
    close(P).

t_migrate() ->
    P = #{client := C, server := A} = pair(),
    ok = weft:setopts(C, #{active => true}),
    {ok, Before} = weft:peername(A),
    receive {weft_confirmed, C} -> ok after 5000 -> error(not_confirmed) end,
    wait(fun() -> weft:migrate(C) =:= ok end),
    receive {weft_path, C, active, _} -> ok after 5000 -> error(not_moved) end,
    {S, T} = streams(P),
    ok = weft:send(S, <<"x">>),
    {ok, <<"x">>} = weft:recv(T, 1, 5000),
    wait(fun() -> {ok, After} = weft:peername(A), After =/= Before end),
    close(P).

t_resumption_and_early_data() ->
    L = listen(#{early_data => true, ticket_secret => <<1:256>>}),
    {ok, C} = weft:connect("127.0.0.1", port(L), client(#{active => true})),
    {ok, _} = weft:accept(L, 5000),
    Session = receive {weft_session, C, Session0} -> Session0 after 5000 -> error(no_session) end,
    {ok, _} = weft:session(C),
    ok = weft:close(C),
    {ok, C2} = weft:connect("127.0.0.1", port(L), client(#{session => Session, early_data => true, wait => false})),
    {ok, S} = weft:open_stream(C2),
    ok = weft:send(S, <<"early">>),
    {ok, C2} = weft:handshake(C2, 5000),
    {ok, A2} = weft:accept(L, 5000),
    {ok, T} = weft:accept_stream(A2, 5000),
    {ok, <<"early">>} = weft:recv(T, 5, 5000),
    {ok, #{resumed := true, early_data := accepted}} = weft:info(C2),
    ok = weft:close(C2),
    ok = weft:stop(L).

t_stream_deadline() ->
    P = pair(),
    {S, T} = streams(P),
    ok = weft:setopts(S, #{deadline => {50, 99}}),
    {error, {reset, 99}} = weft:recv(T, 0, 5000),
    close(P).

t_close_transport() ->
    P = #{client := C, server := A} = pair(),
    ok = weft:close_transport(C, 16#a, <<"why">>),
    {error, {closed, #{layer := transport, code := 16#a, reason := <<"why">>}}} = weft:accept_stream(A, 5000),
    close(P).

t_connect_timeout() ->
    {ok, U} = gen_udp:open(0, [{ip, {127, 0, 0, 1}}]),
    {ok, Port} = inet:port(U),
    {error, timeout} = weft:connect({127, 0, 0, 1}, Port, client(#{}), 100),
    {error, {closed, #{cause := handshake_timeout}}} =
        weft:connect({127, 0, 0, 1}, Port, client(#{handshake_timeout => 100}), 10000),
    gen_udp:close(U).

t_closed_handles() ->
    P = #{client := C} = pair(),
    {S, _} = streams(P),
    close(P),
    {error, {closed, #{cause := local}}} = weft:open_stream(C),
    {error, {closed, #{cause := local}}} = weft:send(S, <<"x">>),
    {error, {closed, #{cause := local}}} = weft:recv(S, 0, 100),
    {error, {closed, _}} = weft:info(C),
    ok = weft:close(C),
    ok = weft:close(S),
    Foreign = binary_to_term(term_to_binary({weft_conn, make_ref()})),
    {error, closed} = weft:open_stream(Foreign),
    {error, closed} = weft:close(Foreign),
    {error, closed} = weft:send({weft_stream, make_ref(), 0}, <<"x">>),
    {error, closed} = weft:accept({weft_listener, make_ref()}).

t_format_error() ->
    "it is closed" = weft:format_error(closed),
    [_ | _] = weft:format_error({error, {closed, #{cause => peer, layer => application, code => 1, reason => <<"r">>, error => none, frame_type => 0}}}),
    "the peer does not allow more streams now" = weft:format_error(stream_limit).

%% Bytes are a protocol's name, code points above 255 are not; and what is nothing at all is refused like anything else.
options_of_no_kind_test() ->
    [
        begin
            {error, {options, Text}} = weft_options:parse(listen, Options, server),
            true = is_binary(Text) andalso byte_size(Text) > 0
        end
     || Options <- [#{alpn => [697, 6]}, #{alpn => ["h3" | x]}, #{certfile => [$a | b]}, #{pins => [x | y]}, #{ip => {1, 2}}]
    ].
