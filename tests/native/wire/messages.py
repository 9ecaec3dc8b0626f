"""One message of every kind, written by hand after the venue's pages and the shapes of 2024 and 2026."""

from dataclasses import dataclass

from native.events import MessageKind
from native.wire.binance_json import BinanceJson
from tests.oracles.wire import Reading, SlowReader


@dataclass(frozen=True, slots=True)
class Rules:
    """What a reader of one instrument is told."""

    symbol: str
    price_digits: int
    quantity_digits: int
    is_spot: bool
    max_levels: int = 16_384

    def reader(self) -> BinanceJson:
        return BinanceJson(
            symbol=self.symbol,
            price_digits=self.price_digits,
            quantity_digits=self.quantity_digits,
            is_spot=self.is_spot,
            max_levels=self.max_levels,
        )

    def twin(self) -> SlowReader:
        return SlowReader(
            self.symbol, self.price_digits, self.quantity_digits, self.is_spot, max_levels=self.max_levels
        )


@dataclass(frozen=True, slots=True)
class Sample:
    """A message as bytes, who reads it and what it is."""

    name: str
    rules: Rules
    kind: MessageKind
    frame: bytes
    is_answer: bool = False

    def read(self, frame: bytes | None = None) -> Reading:
        """Read this message, or a changed form of it, with a new reader."""
        reader = self.rules.reader()
        text = self.frame if frame is None else frame
        return reader.read_snapshot(text) if self.is_answer else reader.read(text)

    def twin(self, frame: bytes | None = None) -> Reading | None:
        """Read the same with the slow twin; None if it is not JSON."""
        slow = self.rules.twin()
        text = self.frame if frame is None else frame
        return slow.read_snapshot(text) if self.is_answer else slow.read(text)


SPOT = Rules("BTCUSDT", 2, 5, True)
USDM = Rules("BTCUSDT", 2, 3, False)
COINM = Rules("BTCUSD_PERP", 1, 0, False)

SPOT_DEPTH = (
    b'{"e":"depthUpdate","E":1723161255208,"s":"BTCUSDT","U":50093239189,"u":50093239202,'
    b'"b":[["61737.63000000","0.00000000"],["61730.17000000","1.50000000"]],"a":[["61837.64000000","2.25000000"]]}'
)
USDM_DEPTH = (
    b'{"e":"depthUpdate","E":1791979200123,"T":1791979200120,"s":"BTCUSDT","ps":"BTCUSDT","U":9100000000000,'
    b'"u":9100000000007,"pu":9099999999990,"b":[["61800.20","2.507"],["61800.10","0"]],'
    b'"a":[["61800.30","10.000"]],"st":1}'
)
COINM_DEPTH = (
    b'{"e":"depthUpdate","E":1626916403873,"T":1626916403864,"s":"BTCUSD_PERP","ps":"BTCUSD","U":167006084465,'
    b'"u":167006084895,"pu":167006084238,"b":[["31427.2","0"],["31427.1","260"]],"a":[["31427.3","7"]]}'
)
SPOT_TRADE = (
    b'{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000",'
    b'"T":1723161255342,"m":true,"M":true}'
)
USDM_TRADE = (
    b'{"e":"trade","E":1791979200322,"T":1791979200321,"s":"BTCUSDT","t":5266583935,"p":"61800.30","q":"0.006",'
    b'"X":"MARKET","m":false,"st":1}'
)
FUND_TRADE = USDM_TRADE.replace(b"MARKET", b"INSURANCE_FUND")
SPOT_AGGREGATE = (
    b'{"e":"aggTrade","E":1723161255343,"s":"BTCUSDT","a":3000000001,"p":"61837.63000000","q":"0.52000000",'
    b'"f":3735683259,"l":3735683262,"T":1723161255342,"m":false,"M":true}'
)
USDM_AGGREGATE = (
    b'{"e":"aggTrade","E":1791979200400,"a":2300000001,"s":"BTCUSDT","p":"61800.30","q":"1.206","nq":"1.106",'
    b'"f":5266583930,"l":5266583935,"T":1791979200321,"m":true,"st":1,"ps":"BTCUSDT"}'
)
SPOT_TICKER = (
    b'{"u":50093239212,"s":"BTCUSDT","b":"61837.63000000","B":"3.78826000","a":"61837.64000000",'
    b'"A":"1.54698000"}'
)
USDM_TICKER = (
    b'{"e":"bookTicker","u":5123107839020,"s":"BTCUSDT","ps":"BTCUSDT","b":"61800.20","B":"2.507",'
    b'"a":"61800.30","A":"2.510","T":1723161256313,"E":1723161256313,"st":1}'
)
KLINE = (
    b'{"e":"kline","E":1626916405054,"s":"BTCUSD_PERP","k":{"t":1626916380000,"T":1626916439999,'
    b'"s":"BTCUSD_PERP","i":"1m","f":11380855,"L":11380895,"o":"31992.7","c":"31992.1","h":"31993.7",'
    b'"l":"31991.9","v":"1893","n":41,"x":false,"q":"9.49653573","V":"1368","Q":"6.86228695","B":"0"}}'
)
MARK = (
    b'{"e":"markPriceUpdate","E":1791979200000,"s":"BTCUSDT","p":"61794.15000001","ap":"61790.00000000",'
    b'"i":"61784.62659091","P":"61784.25641265","r":"-0.00038167","T":1792000800000,"st":1,"ps":"BTCUSDT"}'
)
DELIVERY_MARK = (
    b'{"e":"markPriceUpdate","E":1591261236000,"s":"BTCUSD_PERP","p":"11802.74","P":"11785.2","r":"","T":0}'
)
FORCE = (
    b'{"e":"forceOrder","E":1791979201893,"o":{"s":"BTCUSDT","S":"SELL","o":"LIMIT","f":"IOC","q":"0.014",'
    b'"p":"61710.04","ap":"61733.12345678","X":"FILLED","l":"0.006","z":"0.014","T":1791979201890},"st":1}'
)
COINM_FORCE = (
    b'{"e":"forceOrder","E":1591154240950,"o":{"s":"BTCUSD_PERP","ps":"BTCUSD","S":"BUY","o":"LIMIT",'
    b'"f":"IOC","q":"7","p":"9425.5","ap":"9496.5","X":"NEW","l":"1","z":"1","T":1591154240949}}'
)
SPOT_DAY = (
    b'{"e":"24hrTicker","E":1723161255343,"s":"BTCUSDT","p":"-15.01000000","P":"-0.024","w":"61700.18000000",'
    b'"x":"61852.63000000","c":"61837.62000000","Q":"0.00200000","b":"61837.62000000","B":"1.50000000",'
    b'"a":"61837.63000000","A":"2.25000000","o":"61852.63000000","h":"62300.00000000","l":"60900.01000000",'
    b'"v":"43210.12345678","q":"2666123456.78901234","O":1723074855342,"C":1723161255342,"F":3735000000,'
    b'"L":3735683259,"n":683260}'
)
USDM_DAY = (
    b'{"e":"24hrTicker","E":1791979201000,"s":"BTCUSDT","p":"120.10","P":"0.195","w":"61700.18","c":"61800.30",'
    b'"Q":"0.006","o":"61680.20","h":"62000.00","l":"61000.10","v":"243210.123","q":"15006123456.78",'
    b'"O":1791892800000,"C":1791979200999,"F":5265583935,"L":5266583935,"n":1000001,"st":1,"ps":"BTCUSDT"}'
)
PARTIAL = (
    b'{"lastUpdateId":50093239218,"bids":[["61837.63000000","3.78826000"]],"asks":[["61837.64000000","1.5"]]}'
)
USDM_PARTIAL = USDM_DEPTH
SPOT_ANSWER = (
    b'{"lastUpdateId":50093239218,"bids":[["61837.63000000","3.78826000"],["61837.62000000","0.61700000"]],'
    b'"asks":[["61837.64000000","1.54698000"]]}'
)
USDM_ANSWER = (
    b'{"lastUpdateId":5123107852948,"E":1723161256501,"T":1723161256493,"bids":[["61800.20","2.909"]],'
    b'"asks":[["61800.30","0.006"],["61801.00","20.004"]]}'
)
COINM_ANSWER = (
    b'{"lastUpdateId":167006084895,"symbol":"BTCUSD_PERP","pair":"BTCUSD","E":1626916403873,'
    b'"T":1626916403864,"bids":[["31427.2","15"]],"asks":[["31427.3","7"]]}'
)


def wrapped(stream: bytes, data: bytes) -> bytes:
    return b'{"stream":"' + stream + b'","data":' + data + b"}"


def data_first(stream: bytes, data: bytes) -> bytes:
    return b'{"data":' + data + b',"stream":"' + stream + b'"}'


def airy(frame: bytes) -> bytes:
    """Put white space around the tokens; the strings of the samples hold no token."""
    for token in (b"{", b"}", b"[", b"]", b",", b":"):
        frame = frame.replace(token, b" " + token + b"\r\n\t")
    return frame


def with_unknown_keys(frame: bytes) -> bytes:
    """Put keys nobody knows at both ends of the outermost object, with the known ones inside their values."""
    head = b'{"zz":{"b":[[1,"x"],{"e":"trade"}],"s":"ETHUSDT","data":{}},'
    tail = b',"yy":[[{"p":"1"}],null,-1.5e3,true,"a\\"}b\\\\"]}'
    return head + frame[1:-1] + tail


def _stream(rules: Rules, channel: bytes) -> bytes:
    return rules.symbol.lower().encode() + channel


def _samples() -> tuple[Sample, ...]:
    depth, trade, ticker = MessageKind.MESSAGE_DEPTH, MessageKind.MESSAGE_TRADE, MessageKind.MESSAGE_TICKER
    kline, partial = MessageKind.MESSAGE_KLINE, MessageKind.MESSAGE_PARTIAL
    mark, force, day = MessageKind.MESSAGE_MARK, MessageKind.MESSAGE_FORCE, MessageKind.MESSAGE_DAY
    bodies = (
        ("spot_depth", SPOT, depth, SPOT_DEPTH, b"@depth@100ms"),
        ("usdm_depth", USDM, depth, USDM_DEPTH, b"@depth@0ms"),
        ("coinm_depth", COINM, depth, COINM_DEPTH, b"@depth"),
        ("spot_trade", SPOT, trade, SPOT_TRADE, b"@trade"),
        ("usdm_trade", USDM, trade, USDM_TRADE, b"@trade"),
        ("fund_trade", USDM, trade, FUND_TRADE, b"@trade"),
        ("spot_aggregate", SPOT, trade, SPOT_AGGREGATE, b"@aggTrade"),
        ("usdm_aggregate", USDM, trade, USDM_AGGREGATE, b"@aggTrade"),
        ("spot_ticker", SPOT, ticker, SPOT_TICKER, b"@bookTicker"),
        ("usdm_ticker", USDM, ticker, USDM_TICKER, b"@bookTicker"),
        ("kline", COINM, kline, KLINE, b"@kline_1m"),
        ("mark", USDM, mark, MARK, b"@markPrice@1s"),
        ("delivery_mark", COINM, mark, DELIVERY_MARK, b"@markPrice"),
        ("force", USDM, force, FORCE, b"@forceOrder"),
        ("coinm_force", COINM, force, COINM_FORCE, b"@forceOrder"),
        ("spot_day", SPOT, day, SPOT_DAY, b"@ticker"),
        ("usdm_day", USDM, day, USDM_DAY, b"@ticker"),
        ("spot_partial", SPOT, partial, PARTIAL, b"@depth5"),
        ("usdm_partial", USDM, partial, USDM_PARTIAL, b"@depth20@100ms"),
    )
    found = []
    for name, rules, kind, body, channel in bodies:
        stream = _stream(rules, channel)
        if kind != partial:
            found.append(Sample(name, rules, kind, body))
        found.append(Sample(f"{name}_wrapped", rules, kind, wrapped(stream, body)))
        found.append(Sample(f"{name}_data_first", rules, kind, data_first(stream, body)))
    answers = (("spot", SPOT, SPOT_ANSWER), ("usdm", USDM, USDM_ANSWER), ("coinm", COINM, COINM_ANSWER))
    for name, rules, body in answers:
        found.append(Sample(f"{name}_answer", rules, MessageKind.MESSAGE_SNAPSHOT, body, is_answer=True))
    return tuple(found)


SAMPLES = _samples()
