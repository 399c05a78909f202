#!/usr/bin/env escript
%% Measures bindings/erlang_nif within one VM: both ends, as many engines as are given, on this machine.
%%
%%   tests/bench/erlang_bench.escript EBIN [throughput|requests|streams|idle ...]
%%
%% Prints one line of JSON for each measurement. `long_schedules' counts what erlang:system_monitor reported: times a
%% process or a port ran for over 1 ms without giving way.
-mode(compile).

main([Ebin | What]) ->
    code:add_patha(Ebin),
    Self = self(),
    Monitor = spawn_link(fun() -> watch(Self, 0, []) end),
    erlang:system_flag(scheduler_wall_time, true),
    application:load(weft_nif),
    application:set_env(weft_nif, engines, erlang:system_info(schedulers_online)),
    {ok, _} = application:ensure_all_started(weft_nif),
    erlang:system_monitor(Monitor, [{long_schedule, 2}]),
    [run(Name, Monitor) || Name <- if What =:= [] -> ["throughput", "requests", "streams", "idle"]; true -> What end],
    application:stop(weft_nif),
    halt(0).

watch(Parent, N, Last) ->
    receive
        {monitor, _, long_schedule, Info} -> watch(Parent, N + 1, Info);
        {take, From} -> From ! {long, N, Last}, watch(Parent, 0, [])
    end.

run(Name, Monitor) ->
    Monitor ! {take, self()},
    receive {long, _, _} -> ok end,
    Before = scheduler_times(),
    Result = bench(Name),
    After = scheduler_times(),
    Monitor ! {take, self()},
    {Long, Info} = receive {long, N, I} -> {N, I} end,
    Used = [{A - A0, T - T0} || {{_, A0, T0}, {_, A, T}} <- lists:zip(Before, After)],
    Utilisation = lists:sum([A || {A, _} <- Used]) / max(1, lists:sum([T || {_, T} <- Used])),
    io:format("{\"bench\": \"~s\", ~s, \"scheduler_utilisation\": ~.2f, \"long_schedules\": ~b}~n", [Name, Result, Utilisation, Long]),
    Long =:= 0 orelse io:format(standard_error, "the last of them: ~tp~n", [Info]).

scheduler_times() ->
    Normal = erlang:system_info(schedulers_online),
    lists:sublist(lists:sort(erlang:statistics(scheduler_wall_time)), Normal).

pair(Server, Client) ->
    {ok, L} = weft:listen(0, maps:merge(#{alpn => ["b"], self_signed => "localhost", ip => loopback, engine => 0}, Server)),
    {ok, {_, Port}} = weft:sockname(L),
    {ok, C} = weft:connect("127.0.0.1", Port, maps:merge(#{alpn => ["b"], verify => verify_none, engine => 1}, Client)),
    {ok, A} = weft:accept(L),
    {L, C, A, Port}.

%% One stream, {active, N}, blocks of 64 KiB, for some seconds.
bench("throughput") ->
    Big = #{initial_max_stream_data_bidi_remote => 4 bsl 20, initial_max_data => 16 bsl 20, send_udp_payload_size => 0},
    {L, C, A, _} = pair(Big, Big),
    {ok, S} = weft:open_stream(C),
    ok = weft:send(S, <<"!">>),
    {ok, T} = weft:accept_stream(A),
    {ok, _} = weft:recv(T, 1),
    Block = binary:copy(<<"weft">>, 65536 div 4),
    Sender = spawn_link(fun() -> pump(S, Block) end),
    ok = weft:setopts(T, #{active => 100}),
    _ = count(T, 0, erlang:monotonic_time(millisecond) + 1000, 0),
    Began = erlang:monotonic_time(microsecond),
    {Bytes, Messages} = count(T, 0, erlang:monotonic_time(millisecond) + 4000, 0),
    Took = erlang:monotonic_time(microsecond) - Began,
    unlink(Sender),
    exit(Sender, kill),
    done(L, C),
    io_lib:format("\"gbit_per_s\": ~.2f, \"bytes_per_message\": ~b", [Bytes * 8 / Took / 1000, Bytes div max(1, Messages)]);
%% 100 processes, each with a stream: 100 bytes there, 100 bytes back.
bench("requests") ->
    {L, C, A, _} = pair(#{stream_active => true}, #{stream_active => true}),
    Self = self(),
    spawn_link(fun() ->
        [begin
            {ok, T} = weft:accept_stream(A),
            Pid = spawn_link(fun() -> receive go -> ok end, ok = weft:setopts(T, #{active => true}), answer(T) end),
            ok = weft:controlling_process(T, Pid),
            Pid ! go
        end || _ <- lists:seq(1, 100)],
        receive stop -> ok end
    end),
    Counter = counters:new(1, [write_concurrency]),
    Pids = [spawn_link(fun() ->
        {ok, S} = weft:open_stream(C),
        ok = weft:send(S, binary:copy(<<0>>, 100)),
        Self ! ready,
        ask(S, binary:copy(<<1>>, 100), Counter)
    end) || _ <- lists:seq(1, 100)],
    [receive ready -> ok end || _ <- Pids],
    timer:sleep(500),
    N0 = counters:get(Counter, 1),
    Began = erlang:monotonic_time(microsecond),
    timer:sleep(4000),
    N = counters:get(Counter, 1) - N0,
    Took = erlang:monotonic_time(microsecond) - Began,
    [begin unlink(P), exit(P, kill) end || P <- Pids],
    done(L, C),
    io_lib:format("\"requests_per_s\": ~b", [round(N * 1000000 / Took)]);
%% The same with a stream of its own for each request.
bench("streams") ->
    {L, C, A, _} = pair(#{initial_max_streams_bidi => 1000}, #{}),
    Counter = counters:new(1, [write_concurrency]),
    Servers = [spawn_link(fun() -> serve(A) end) || _ <- lists:seq(1, 100)],
    Pids = [spawn_link(fun() -> request(C, binary:copy(<<1>>, 100), Counter) end) || _ <- lists:seq(1, 100)],
    timer:sleep(500),
    N0 = counters:get(Counter, 1),
    Began = erlang:monotonic_time(microsecond),
    timer:sleep(3000),
    N = counters:get(Counter, 1) - N0,
    Took = erlang:monotonic_time(microsecond) - Began,
    [begin unlink(P), exit(P, kill) end || P <- Pids ++ Servers],
    done(L, C),
    io_lib:format("\"requests_per_s\": ~b", [round(N * 1000000 / Took)]);
%% 10,000 idle connections, both ends here: what the VM holds for each, and what the core does.
bench("idle") ->
    Count = 10000,
    {L, C, _, Port} = pair(#{max_idle_timeout => 600000, backlog => Count}, #{}),
    erlang:garbage_collect(),
    Before = erlang:memory(total),
    Core0 = core_memory(),
    Self = self(),
    Workers = [spawn_link(fun() ->
        Conns = [begin
            {ok, X} = weft:connect("127.0.0.1", Port, #{alpn => ["b"], verify => verify_none, max_idle_timeout => 600000}),
            X
        end || _ <- lists:seq(1, Count div 20)],
        Self ! {up, self()},
        receive stop -> Conns end
    end) || _ <- lists:seq(1, 20)],
    [receive {up, W} -> ok end || W <- Workers],
    Accepted = [begin {ok, X} = weft:accept(L, 60000), X end || _ <- lists:seq(1, Count)],
    timer:sleep(1000),
    [erlang:garbage_collect(P) || P <- processes()],
    Vm = (erlang:memory(total) - Before) div (2 * Count),
    Core = (core_memory() - Core0) div (2 * Count),
    _ = length(Accepted),
    [begin unlink(W), exit(W, kill) end || W <- Workers],
    ok = weft:stop(L, #{timeout => 30000}),
    _ = weft:close(C),
    io_lib:format("\"connections\": ~b, \"vm_bytes_per_end\": ~b, \"core_bytes_per_end\": ~b", [Count, Vm, Core]).

core_memory() -> lists:sum([maps:get(memory_used, S) || S <- weft:engine_stats()]).

done(L, C) ->
    _ = weft:close(C),
    _ = weft:stop(L),
    ok.

pump(S, Block) ->
    case weft:send(S, Block) of
        ok -> pump(S, Block);
        _ -> ok
    end.

count(T, Bytes, Until, N) ->
    receive
        {weft, T, Data} ->
            case N band 63 =:= 0 andalso erlang:monotonic_time(millisecond) >= Until of
                true -> {Bytes + byte_size(Data), N + 1};
                false -> count(T, Bytes + byte_size(Data), Until, N + 1)
            end;
        {weft_passive, T} ->
            ok = weft:setopts(T, #{active => 100}),
            count(T, Bytes, Until, N)
    end.

ask(S, Data, Counter) ->
    receive
        {weft, S, _} ->
            counters:add(Counter, 1, 1),
            _ = weft:send(S, Data),
            ask(S, Data, Counter)
    end.

answer(T) ->
    receive
        {weft, T, Data} ->
            _ = weft:send(T, Data),
            answer(T)
    end.

serve(A) ->
    case weft:accept_stream(A) of
        {ok, T} ->
            case weft:recv(T, 100) of
                {ok, Data} -> _ = weft:send_fin(T, Data), serve(A);
                _ -> ok
            end;
        _ ->
            ok
    end.

request(C, Data, Counter) ->
    case weft:open_stream(C) of
        {ok, S} ->
            _ = weft:send_fin(S, Data),
            case weft:recv(S, 100) of
                {ok, _} -> counters:add(Counter, 1, 1), request(C, Data, Counter);
                _ -> ok
            end;
        _ ->
            ok
    end.
