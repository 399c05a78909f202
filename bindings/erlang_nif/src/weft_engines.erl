%% @private Starts the engines and owns them. An engine is a thread of the NIF's with sockets, timers and connections of
%% its own; it stops when this process ends. Which engine a connection gets is a round; it stays there for life.
%%
%% Application variables: `engines' (how many, default 1, at most the schedulers online), `fleet_secret' (32 bytes,
%% shared by the servers of a fleet), `memory_limit' (bytes, of each engine; 0: none), `buffer_cap' (bytes of received
%% data that binaries may refer to before everything is copied).
-module(weft_engines).
-behaviour(gen_server).

-export([start_link/0, ensure_started/0, pick/0, all/0, config/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-define(CONFIGS, 64).

-spec start_link() -> {ok, pid()} | ignore | {error, term()}.
start_link() ->
    case gen_server:start({local, ?MODULE}, ?MODULE, [], []) of
        {ok, Pid} ->
            link(Pid),
            {ok, Pid};
        {error, {already_started, Pid}} ->
            %% Distribution has started them before the application did.
            link(Pid),
            {ok, Pid};
        Other ->
            Other
    end.

%% @doc Starts the engines outside of the application, for what runs before it: distribution.
-spec ensure_started() -> ok | {error, term()}.
ensure_started() ->
    case gen_server:start({local, ?MODULE}, ?MODULE, [], []) of
        {ok, _} -> ok;
        {error, {already_started, _}} -> ok;
        Error -> Error
    end.

-spec pick() -> {ok, reference()} | {error, closed}.
pick() ->
    case persistent_term:get(?MODULE, undefined) of
        {Turn, Engines} ->
            N = atomics:add_get(Turn, 1, 1),
            {ok, element(1 + N rem tuple_size(Engines), Engines)};
        undefined ->
            {error, closed}
    end.

-spec all() -> [reference()].
all() ->
    case persistent_term:get(?MODULE, undefined) of
        {_, Engines} -> tuple_to_list(Engines);
        undefined -> []
    end.

%% @doc The configuration for these operations: one that was made before, or a new one. Certificate authorities are read
%% once, not for every connection.
-spec config(client | server, [tuple()]) -> {ok, reference()} | {error, term()}.
config(Role, Operations) ->
    %% A digest, so that keys are not held here.
    Key = crypto:hash(sha256, term_to_binary({Role, Operations, [file_stamp(F) || F <- files(Operations)]})),
    case ets:whereis(?MODULE) =/= undefined andalso ets:lookup(?MODULE, Key) of
        [{_, Config, _}] ->
            {ok, Config};
        false ->
            {error, closed};
        [] ->
            case weft_nif:config_new(Role, Operations) of
                {ok, Config} ->
                    gen_server:cast(?MODULE, {remember, Key, Config}),
                    {ok, Config};
                Error ->
                    Error
            end
    end.

files(Operations) ->
    lists:append([
        case Op of
            {cert_files, Chain, Key} -> [Chain, Key];
            {trust_file, File} -> [File];
            _ -> []
        end
     || Op <- Operations
    ]).

file_stamp(File) ->
    case file:read_file_info(File, [raw, {time, posix}]) of
        {ok, Info} -> {element(2, Info), element(6, Info), element(12, Info)};
        Error -> Error
    end.

%%% gen_server

-spec init([]) -> {ok, [reference()]}.
init([]) ->
    process_flag(trap_exit, true),
    Get = fun(Name, Default) -> application:get_env(weft_nif, Name, Default) end,
    ok = weft_nif:set_buffer_cap(Get(buffer_cap, 64 bsl 20)),
    ?MODULE = ets:new(?MODULE, [named_table, protected, {read_concurrency, true}]),
    Count = min(max(1, Get(engines, 1)), erlang:system_info(schedulers_online)),
    Secret =
        case Get(fleet_secret, undefined) of
            undefined -> crypto:strong_rand_bytes(32);
            Given -> iolist_to_binary(Given)
        end,
    Engines = [start_engine(N, Secret, Get(memory_limit, 0)) || N <- lists:seq(0, Count - 1)],
    persistent_term:put(?MODULE, {atomics:new(1, []), list_to_tuple(Engines)}),
    {ok, Engines}.

start_engine(Number, Secret, Limit) ->
    Ref = make_ref(),
    ok = weft_nif:engine_start(Number, Secret, Limit, Ref),
    receive
        {Ref, {ok, Engine}} -> Engine;
        {Ref, {error, Reason}} -> exit({engine, Reason})
    end.

-spec handle_call(term(), gen_server:from(), [reference()]) -> {reply, {error, unknown}, [reference()]}.
handle_call(_, _From, State) ->
    {reply, {error, unknown}, State}.

-spec handle_cast({remember, binary(), reference()}, [reference()]) -> {noreply, [reference()]}.
%% The oldest go when there are too many; connections that use them keep them.
handle_cast({remember, Key, Config}, State) ->
    case ets:info(?MODULE, size) < ?CONFIGS of
        true ->
            true;
        false ->
            {_, Oldest} = lists:min([{At, K} || {K, _, At} <- ets:tab2list(?MODULE)]),
            ets:delete(?MODULE, Oldest)
    end,
    ets:insert(?MODULE, {Key, Config, erlang:unique_integer([monotonic])}),
    {noreply, State}.

-spec handle_info(term(), [reference()]) -> {noreply, [reference()]} | {stop, term(), [reference()]}.
%% Not from a parent: who started this process and who supervises it may be two.
handle_info({'EXIT', _, Reason}, State) ->
    {stop, Reason, State};
handle_info(_, State) ->
    {noreply, State}.

-spec terminate(term(), [reference()]) -> ok.
terminate(_Reason, Engines) ->
    persistent_term:erase(?MODULE),
    Refs = [{make_ref(), E} || E <- Engines],
    Asked = [Ref || {Ref, E} <- Refs, weft_nif:engine_stop(E, Ref) =:= ok],
    [
        receive
            {Ref, _} -> ok
        after 5000 -> ok
        end
     || Ref <- Asked
    ],
    ok.
