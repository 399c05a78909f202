%% @private Knows the listeners of a {@link weft_listener}, and stops them in good manner.
-module(weft_listener_owner).
-behaviour(gen_server).

-export([start_link/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-spec start_link(map()) -> {ok, pid()} | ignore | {error, term()}.
start_link(Spec) -> gen_server:start_link(?MODULE, Spec, []).

-spec init(map()) -> {ok, map()} | {stop, term()}.
init(#{listening := {ok, Listeners}} = Spec) ->
    process_flag(trap_exit, true),
    {ok, Spec#{listeners => Listeners}};
init(#{listening := {error, Reason}}) ->
    {stop, Reason}.

-spec handle_call(listeners, gen_server:from(), map()) -> {reply, [weft:listener()], map()}.
handle_call(listeners, _From, #{listeners := Listeners} = S) -> {reply, Listeners, S}.

-spec handle_cast(term(), map()) -> {noreply, map()}.
handle_cast(_, S) -> {noreply, S}.

-spec handle_info(term(), map()) -> {noreply, map()}.
handle_info(_, S) -> {noreply, S}.

-spec terminate(term(), map()) -> ok.
terminate(_, #{listeners := Listeners} = S) ->
    _ =
        case maps:get(drain, S, 0) of
            0 -> weft:stop(Listeners, #{mode => detach});
            Timeout -> weft:stop(Listeners, #{mode => drain, timeout => Timeout})
        end,
    ok.
