%% @private Owns the listener of a {@link weft_listener}, and stops it in good manner.
-module(weft_listener_owner).
-behaviour(gen_server).

-export([start_link/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-spec start_link(weft_listener:spec()) -> {ok, pid()} | ignore | {error, term()}.
start_link(Spec) -> gen_server:start_link(?MODULE, Spec, []).

-spec init(weft_listener:spec()) -> {ok, map()} | {stop, term()}.
init(#{port := Port, options := Options} = Spec) ->
    process_flag(trap_exit, true),
    Listening =
        case maps:get(engines, Spec, one) of
            all -> weft:listen_all(Port, Options);
            one -> weft:listen(Port, Options)
        end,
    case Listening of
        {ok, Listeners} when is_list(Listeners) -> {ok, Spec#{listeners => Listeners}};
        {ok, Listener} -> {ok, Spec#{listeners => [Listener]}};
        {error, Reason} -> {stop, Reason}
    end.

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
