%% @doc A listener as a part of a supervision tree: it listens, accepts with a pool of processes, and runs a
%% {@link weft_connection} for each connection.
%%
%% ```
%% {weft_listener, start_link, [#{port => 4433, module => echo, args => [],
%%                                options => #{alpn => ["echo"], certfile => "cert.pem", keyfile => "key.pem"}}]}
%% '''
%%
%% With `engines => all' it listens on its port with all engines ({@link weft:listen_all/2}). `acceptors' (8) are spread
%% over them, at least one for each; `active' (unless given, 32) is the portion in which a connection's messages come.
%%
%% Whatever process below is lost, the listener stays. When its engine is lost, the tree ends, for its supervisor to start
%% it anew.
%%
%% A connection's process is temporary: what becomes of one is nothing to the others. When the tree is shut down the
%% listener stops first: with `drain' (milliseconds) connections get that long to end by themselves.
-module(weft_listener).
-behaviour(supervisor).

-export([start_link/1, child_spec/1, stop/1, listener/1, listeners/1, sockname/1, connections/1, count/1, reload/2]).
-export([init/1]).

-type spec() :: #{
    port := inet:port_number() | weft:address(),
    module := module(),
    args => term(),
    options := map(),
    engines => one | all,
    acceptors => pos_integer(),
    drain => timeout(),
    active => pos_integer(),
    id => term()
}.
-export_type([spec/0]).

%% @doc Starts it, linked to the caller. Errors are those of {@link weft:listen/2}.
-spec start_link(spec()) -> {ok, pid()} | {error, term()}.
start_link(Spec) ->
    case supervisor:start_link(?MODULE, Spec) of
        {ok, Pid} -> {ok, Pid};
        {error, {shutdown, {failed_to_start_child, owner, Reason}}} -> {error, Reason};
        {error, Reason} -> {error, Reason};
        ignore -> {error, ignore}
    end.

%% @doc For a supervisor. `id' of the specification is the child's, unless given `{weft_listener, Port}'.
-spec child_spec(spec()) -> supervisor:child_spec().
child_spec(Spec) ->
    #{id => maps:get(id, Spec, {?MODULE, maps:get(port, Spec)}), start => {?MODULE, start_link, [Spec]}, type => supervisor}.

%% @doc Stops it all. For one that no supervisor has.
-spec stop(pid()) -> ok.
stop(Sup) ->
    unlink(Sup),
    proc_lib:stop(Sup, shutdown, infinity).

%% @doc The listener; the first one with `engines => all'.
-spec listener(pid()) -> weft:listener().
listener(Sup) -> hd(listeners(Sup)).

%% @doc The listener of each engine that has one.
-spec listeners(pid()) -> [weft:listener(), ...].
listeners(Sup) -> gen_server:call(child(Sup, owner), listeners).

%% @doc The address it is bound to.
-spec sockname(pid()) -> {ok, weft:address()} | {error, weft:reason()}.
sockname(Sup) -> weft:sockname(listener(Sup)).

%% @doc The processes of its connections.
-spec connections(pid()) -> [pid()].
connections(Sup) -> [Pid || {_, Pid, _, _} <- supervisor:which_children(child(Sup, connections)), is_pid(Pid)].

%% @doc How many connections it has.
-spec count(pid()) -> non_neg_integer().
count(Sup) -> proplists:get_value(active, supervisor:count_children(child(Sup, connections))).

%% @doc New certificates without a pause.
-spec reload(pid(), map()) -> ok | {error, weft:reason()}.
reload(Sup, Options) ->
    case [Error || L <- listeners(Sup), {error, _} = Error <- [weft:reload(L, Options)]] of
        [] -> ok;
        [Error | _] -> Error
    end.

child(Sup, Id) ->
    {Id, Pid, _, _} = lists:keyfind(Id, 1, supervisor:which_children(Sup)),
    Pid.

%%% supervisor

-spec init(term()) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init({connections, Spec}) ->
    #{module := Module} = Spec,
    Child = #{
        id => connection,
        start => {weft_connection, start_link, [Module, maps:get(args, Spec, []), wait, maps:with([active], Spec)]},
        restart => temporary,
        shutdown => 5000
    },
    {ok, {#{strategy => simple_one_for_one}, [Child]}};
init({acceptors, Spec, Sup}) ->
    Least = case Spec of #{engines := all} -> length(weft_engines:all()); _ -> 1 end,
    Count = max(Least, maps:get(acceptors, Spec, 8)),
    Children = [#{id => N, start => {weft_acceptor, start_link, [Sup, N]}, shutdown => brutal_kill} || N <- lists:seq(1, Count)],
    {ok, {#{strategy => one_for_one, intensity => 10 * Count, period => 1}, Children}};
init(#{port := Port, options := Options} = Spec) ->
    %% The listener is the supervisor's: it outlives all processes below, and goes with the tree. An error is for `owner'.
    {ok, tree(Spec#{listening => listen(maps:get(engines, Spec, one), Port, Options, 250)})}.

%% Engines that have just been lost are started anew meanwhile.
listen(Engines, Port, Options, Tries) ->
    Result =
        case Engines of
            all -> weft:listen_all(Port, passive(Options));
            one -> weft:listen(Port, passive(Options))
        end,
    case Result of
        {ok, Listeners} when is_list(Listeners) ->
            {ok, Listeners};
        {ok, Listener} ->
            {ok, [Listener]};
        {error, closed} when Tries > 0 ->
            timer:sleep(20),
            listen(Engines, Port, Options, Tries - 1);
        Error ->
            Error
    end.

%% Acceptors ask: a supervisor wants no messages.
passive(#{} = Options) -> Options#{active => false};
passive(Options) -> Options.

tree(Spec) ->
    Self = self(),
    Drain = maps:get(drain, Spec, 0),
    {#{strategy => rest_for_one, intensity => 5, period => 10}, [
        #{
            id => connections,
            start => {supervisor, start_link, [?MODULE, {connections, Spec}]},
            type => supervisor
        },
        #{
            id => owner,
            start => {weft_listener_owner, start_link, [Spec]},
            shutdown => if is_integer(Drain) -> Drain + 10000; true -> infinity end
        },
        #{
            id => acceptors,
            start => {supervisor, start_link, [?MODULE, {acceptors, Spec, Self}]},
            type => supervisor
        }
    ]}.
