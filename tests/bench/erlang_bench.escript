#!/usr/bin/env escript
%%! +sbwt none +sbwtdcpu none +sbwtdio none
%% Measures bindings/erlang_nif within one VM: both ends, each with an engine of its own. tests/bench/erlang_run plays
%% rounds of it and has the aims.
%%
%%   tests/bench/erlang_bench.escript EBIN [first] [throughput|requests|streams|idle ...]
%%
%% Prints one line of JSON for each measurement. Beside what the clock says stand CPU times of the threads, for a machine
%% that others use as well. `long_schedules' counts what erlang:system_monitor reported: times a process or a port ran for
%% over 1 ms without giving way. The VM measures that by the clock, so a scheduler that lost its core to an engine or to
%% another program is reported, too. With `first' the schedulers' threads get SCHED_FIFO, so that nobody takes their core
%% away: what is reported then did run, or wait for a lock, for so long. (It costs throughput: schedulers then interrupt
%% engines for every message.) Schedulers do not spin here: where there are as many engines as cores they would take the
%% engines' time.
-mode(compile).

-define(LONG, 1).
-define(MODULES, [weft, weft_options, inet, proplists, timer, counters, io_lib_format, io_lib_pretty]).
-define(ALL, ["throughput", "requests", "streams", "idle"]).

main([Ebin, "first" | What]) -> main(Ebin, true, What);
main([Ebin | What]) -> main(Ebin, false, What).

main(Ebin, First, What) ->
    code:add_patha(Ebin),
    erlang:system_flag(scheduler_wall_time, true),
    ok = application:load(weft_nif),
    ok = application:set_env(weft_nif, engines, 2),
    {ok, _} = application:ensure_all_started(weft_nif),
    %% Loading code takes a while, too.
    _ = [{module, _} = code:ensure_loaded(M) || M <- ?MODULES],
    First andalso schedulers_first(),
    Monitor = spawn_opt(fun() -> watch([]) end, [link, {priority, max}, {message_queue_data, off_heap}]),
    erlang:system_monitor(Monitor, [{long_schedule, ?LONG}]),
    [run(Name, Monitor) || Name <- if What =:= [] -> ?ALL; true -> What end],
    erlang:system_monitor(undefined),
    ok = application:stop(weft_nif),
    halt(0).

watch(Seen) ->
    receive
        {monitor, Who, long_schedule, Info} -> watch([{Who, Info} | Seen]);
        {take, From} -> From ! {long, Seen}, watch([])
    end.

run(Name, Monitor) ->
    _ = long(Monitor),
    {Result, Window} = bench(Name),
    Long = long(Monitor),
    Numbers = Result ++ Window ++ [{long_schedules, length(Long)}],
    io:format("{\"bench\": \"~s\"~s}~n", [Name, [io_lib:format(", \"~s\": ~s", [N, number(V)]) || {N, V} <- Numbers]]),
    [io:format(standard_error, "ran long: ~tp~n", [L]) || L <- Long].

number(V) when is_float(V) -> io_lib:format("~.3f", [V]);
number(V) -> io_lib:format("~p", [V]).

long(Monitor) ->
    Monitor ! {take, self()},
    receive {long, Seen} -> Seen end.

%%% threads: their CPU time, and their core

%% [{Tid, Name, Nanoseconds on a core, nanoseconds of waiting for one}]
threads() ->
    Dir = "/proc/self/task",
    {ok, Tids} = file:list_dir_all(Dir),
    lists:append([
        case {read([Dir, Tid, "comm"]), read([Dir, Tid, "schedstat"])} of
            {{ok, Name}, {ok, Text}} ->
                [On, Waiting | _] = [list_to_integer(W) || W <- string:lexemes(Text, " \n")],
                [{Tid, string:trim(Name), On, Waiting}];
            _ ->
                []
        end
     || Tid <- Tids
    ]).

read(Parts) ->
    case file:open(filename:join(Parts), [read, raw]) of
        {ok, F} ->
            Result = file:read(F, 4096),
            ok = file:close(F),
            Result;
        Error ->
            Error
    end.

is_scheduler(Name) -> re:run(Name, "^([0-9]+_scheduler|erts_sched_[0-9]+)$") =/= nomatch.

schedulers_first() ->
    Tids = [Tid || {Tid, Name, _, _} <- threads(), is_scheduler(Name)],
    true = Tids =/= [],
    [""] = lists:usort([os:cmd("chrt -f -p 1 " ++ Tid ++ " 2>&1") || Tid <- Tids]).

%% Fun runs between two looks at the clock and at what Count gives; what each costs in microseconds of the threads' time.
measure(Count, Fun) ->
    {Before, Threads, Began} = {Count(), threads(), erlang:monotonic_time(microsecond)},
    Busy = scheduler_times(),
    Fun(),
    {N, Took, After} = {Count() - Before, erlang:monotonic_time(microsecond) - Began, threads()},
    Used = [{Name, On - On0} || {Tid, _, On0, _} <- Threads, {T, Name, On, _} <- After, T =:= Tid],
    Of = fun(Which) -> lists:sum([Ns || {Name, Ns} <- Used, Which(Name)]) / 1000 / max(1, N) end,
    {N, Took, [
        {cpu_us_engines, Of(fun(Name) -> string:prefix(Name, "weft_engine") =/= nomatch end)},
        {cpu_us_busier_engine, lists:max([0 | [Ns || {"weft_engine" ++ _, Ns} <- Used]]) / 1000 / max(1, N)},
        {cpu_us_schedulers, Of(fun is_scheduler/1)},
        {cpu_us_all, Of(fun(_) -> true end)},
        {scheduler_utilisation, utilisation(Busy, scheduler_times())}
    ]}.

utilisation(Before, After) ->
    Used = [{A - A0, T - T0} || {{_, A0, T0}, {_, A, T}} <- lists:zip(Before, After)],
    lists:sum([A || {A, _} <- Used]) / max(1, lists:sum([T || {_, T} <- Used])).

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
    Counters = counters:new(2, []),
    count(T, Counters, erlang:monotonic_time(millisecond) + 1000, 1),
    Before = {counters:get(Counters, 1), counters:get(Counters, 2)},
    Count = fun() -> counters:get(Counters, 1) div 1000000 end, % costs are those of a megabyte
    {_, Took, Costs} = measure(Count, fun() -> count(T, Counters, erlang:monotonic_time(millisecond) + 4000, 1) end),
    Bytes = counters:get(Counters, 1) - element(1, Before),
    Messages = counters:get(Counters, 2) - element(2, Before),
    unlink(Sender),
    exit(Sender, kill),
    done(L, C),
    {[{gbit_per_s, Bytes * 8 / Took / 1000}, {bytes_per_message, Bytes div max(1, Messages)}], Costs};
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
    {N, Took, Costs} = measure(fun() -> counters:get(Counter, 1) end, fun() -> timer:sleep(4000) end),
    [begin unlink(P), exit(P, kill) end || P <- Pids],
    done(L, C),
    {[{requests_per_s, round(N * 1000000 / Took)}], Costs};
%% The same with a stream of its own for each request.
bench("streams") ->
    {L, C, A, _} = pair(#{initial_max_streams_bidi => 1000}, #{}),
    Counter = counters:new(1, [write_concurrency]),
    Servers = [spawn_link(fun() -> serve(A) end) || _ <- lists:seq(1, 100)],
    Pids = [spawn_link(fun() -> request(C, binary:copy(<<1>>, 100), Counter) end) || _ <- lists:seq(1, 100)],
    timer:sleep(500),
    {N, Took, Costs} = measure(fun() -> counters:get(Counter, 1) end, fun() -> timer:sleep(3000) end),
    [begin unlink(P), exit(P, kill) end || P <- Pids ++ Servers],
    done(L, C),
    {[{requests_per_s, round(N * 1000000 / Took)}], Costs};
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
    {[{connections, Count}, {vm_bytes_per_end, Vm}, {core_bytes_per_end, Core}], []}.

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

count(T, Counters, Until, N) ->
    receive
        {weft, T, Data} ->
            counters:add(Counters, 1, byte_size(Data)),
            counters:add(Counters, 2, 1),
            case N band 63 =:= 0 andalso erlang:monotonic_time(millisecond) >= Until of
                true -> ok;
                false -> count(T, Counters, Until, N + 1)
            end;
        {weft_passive, T} ->
            ok = weft:setopts(T, #{active => 100}),
            count(T, Counters, Until, N)
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
