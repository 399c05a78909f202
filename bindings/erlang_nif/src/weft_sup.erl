%% @private The application's supervisor: the engines, whose process owns the threads, and listeners that are started
%% with `weft_listener'.
-module(weft_sup).
-behaviour(supervisor).

-export([start_link/0, init/1]).

-spec start_link() -> {ok, pid()} | ignore | {error, term()}.
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    Engines = #{
        id => weft_engines,
        start => {weft_engines, start_link, []},
        shutdown => 10000
    },
    Groups = #{id => weft_cluster, start => {weft_cluster, start_link, []}},
    {ok, {#{strategy => one_for_one, intensity => 5, period => 60}, [Engines, Groups]}}.
