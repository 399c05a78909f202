%% @private
-module(weft_app).
-behaviour(application).

-export([start/2, stop/1]).

-spec start(application:start_type(), term()) -> {ok, pid()} | {error, term()}.
start(_Type, _Args) ->
    case weft_sup:start_link() of
        ignore -> {error, ignored};
        Started -> Started
    end.

-spec stop(term()) -> ok.
stop(_State) ->
    ok.
