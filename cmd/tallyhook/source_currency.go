package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// isoCurrencies are the codes of ISO 4217 that money is paid in.
var isoCurrencies = strings.Fields(`AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD
	CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF
	IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN
	NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL
	THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VED VES VND VUV WST XAF XCD XCG XDR XOF XPF YER ZAR ZMW ZWG`)

// printOwnCurrency says of a source's currency that no country has it: it may
// be meant so, and it may be a slip.
func (a *app) printOwnCurrency(shown json.RawMessage) error {
	var src struct {
		Currency string `json:"currency"`
	}
	if err := json.Unmarshal(shown, &src); err != nil {
		return fmt.Errorf("a source cannot be read: %w", err)
	}
	if src.Currency != "" && !slices.Contains(isoCurrencies, src.Currency) {
		fmt.Fprintf(a.out, "note    %s is no ISO code: taken as a currency of your own\n", printable(src.Currency))
	}
	return nil
}
